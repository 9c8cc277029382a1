"""The classifier of a data set: good, the same every time, trained once, whole in the store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metrics.given import GivenPrepared
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import Levels, levels_of
from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics.data import Keep
from vae_likelihoods.metrics.measures import features
from vae_likelihoods.metrics.measures.features import SIZE, Classifier, classifier_of, trained
from vae_likelihoods.recipes.keeping import keep_in
from vae_likelihoods.seeding import generator


@pytest.fixture(scope="module")
def digits(prepared_root: Path) -> PreparedDataset:
    return PreparedDataset(prepared_root / "data" / "prepared" / "digits")


@pytest.fixture
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 20)


few_steps = pytest.mark.usefixtures("_few_steps")

# What an older processor has.
PLAIN_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
TRAIN = """
import sys
from pathlib import Path
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.metrics.measures.features import classifier_of
from vae_likelihoods.recipes.keeping import keep_in
prepared = PreparedDataset(Path(sys.argv[1]))
classifier_of(prepared, keep_in(Path(sys.argv[2]), prepared))
"""


@pytest.fixture(scope="module")
def keep(digits: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Keep:
    """Keeps what a metric makes of the digits."""
    return keep_in(tmp_path_factory.mktemp("store"), digits)


def tiny(images: int = 40, seed: int = 0) -> GivenPrepared:
    """Return a data set of two classes: the upper or the lower row is brighter."""
    noise = torch.randint(3, (images, 1, 4, 5), generator=generator(seed, "tiny"), dtype=torch.uint8)
    labels = torch.arange(images) % 2
    noise[labels == 0, :, 0] += 4
    noise[labels == 1, :, 3] += 4
    split = Levels(noise, labels, 8, 8)
    return GivenPrepared({"train": split, "validation": split, "test": split})


@pytest.mark.parametrize(("levels", "least"), [(17, 0.94), (4, 0.94), (2, 0.85)])
def test_it_knows_digits_that_it_was_not_trained_on(
    digits: PreparedDataset, keep: Keep, levels: int, least: float
) -> None:
    test, classifier = levels_of(digits, "test", levels), classifier_of(digits, keep)
    result = classifier.features(test.images / (levels - 1))
    assert classifier.accuracy(result, test.labels) > least
    assert classifier.accuracy(result, (test.labels + 1) % 10) < 0.07


def test_features_are_in_units_of_their_spread_over_train(digits: PreparedDataset, keep: Keep) -> None:
    train = levels_of(digits, "train", 17)
    result = classifier_of(digits, keep).features(train.images / 16)
    assert result.shape == (len(train.images), SIZE)
    assert result.dtype == torch.float64
    assert result.var(0).sum() == pytest.approx(1.0, rel=1e-5)


def test_other_kernels_train_to_the_same_features(
    digits: PreparedDataset, keep: Keep, prepared_root: Path, tmp_path: Path
) -> None:
    folder = str(prepared_root / "data" / "prepared" / "digits")
    command = [sys.executable, "-c", TRAIN, folder, str(tmp_path)]
    subprocess.run(command, env={**os.environ, **PLAIN_KERNELS, "OMP_NUM_THREADS": "1"}, check=True)
    images = levels_of(digits, "test", 17).images / 16
    here, there = (classifier_of(digits, each).features(images) for each in (keep, keep_in(tmp_path, digits)))
    torch.testing.assert_close(there, here, rtol=1e-6, atol=1e-6)  # what is left of float64 by rounding


def test_features_do_not_depend_on_how_many_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.rand(23, 1, 4, 5, generator=generator(0, "points"))
    model = Classifier((1, 4, 5), torch.arange(2))
    whole = model.features(points)
    monkeypatch.setattr(features, "AT_ONCE", 7)
    torch.testing.assert_close(model.features(points), whole)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 32, 32), (1, 28, 28), (2, 5, 9)])
def test_images_of_any_shape_have_features(shape: tuple[int, int, int]) -> None:
    assert Classifier(shape, torch.arange(3)).features(torch.zeros(2, *shape)).shape == (2, SIZE)


@few_steps
def test_training_is_a_pure_function_of_the_data_and_leaves_no_trace() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with torch.no_grad():
        first = trained(tiny()).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = trained(tiny()).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = trained(tiny(seed=1)).state_dict()
    assert not torch.equal(first["head.weight"], other["head.weight"])


@few_steps
def test_it_is_frozen_and_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    once, again = (classifier_of(tiny(), keep_in(tmp_path, tiny())) for _ in range(2))
    assert not any(parameter.requires_grad for parameter in once.parameters())
    assert not once.training
    fresh = trained(tiny()).state_dict()
    for result in (once.state_dict(), again.state_dict()):
        assert all(torch.equal(result[name], fresh[name]) for name in fresh)


def test_labels_that_are_no_classes_are_refused() -> None:
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    split = Levels(images, torch.zeros(4, 2, dtype=torch.int64), 4, 4)
    with pytest.raises(SettingError, match="features need one class an image"):
        trained(GivenPrepared({"train": split}))
