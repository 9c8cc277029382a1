"""Every metric on data of which some numbers need more: each is finite, or missing with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from metrics.given import Given, measure
from metrics.test_metrics import METRICS, SHAPE, cheap, counted
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.measures import features
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.recipes.measuring import check
from vae_likelihoods.seeding import generator

TRAIN, TEST = 40, 12
NO_LABELS, CLASSES = "the data set has no labels", "the labels are classes, not factors"
FACTORS, ONE_CLASS = "the labels are factors, not classes", "all images of train have one class"
ERROR, VARIANCE = "a standard error needs two images", "a variance over images needs two images"
ALONE, PAIR = "one image cannot be told from others", "two images of train and of test are needed"
ALIKE, KNOWN = (
    "all images of train have the same features",
    "half of the test images are in train, at a distance of 0",
)


def images(count: int, purpose: str) -> Tensor:
    return torch.randint(4, (count, *SHAPE), generator=generator(0, purpose), dtype=torch.uint8)


def data(
    test: int = TEST,
    labels: Callable[[int], Tensor | None] = counted,
    of_test: Callable[[int], Tensor | None] | None = None,
    black: bool = False,
    repeated: bool = False,
) -> Data:
    """Return data with labels as these functions of the number of images give them."""
    train = images(TRAIN, "train")
    tested = train[:test] if repeated else images(test, "test")
    made = {"train": (train, labels), "validation": (train, labels), "test": (tested, of_test or labels)}
    return Given({name: Levels(x * (not black), y(len(x)), 4, 4) for name, (x, y) in made.items()}, 4)


CASES: dict[str, tuple[Data, set[str]]] = {
    "no labels": (data(labels=lambda n: None), {NO_LABELS}),
    "factors": (data(labels=lambda n: torch.stack([counted(n), torch.arange(n) % 2], 1)), {FACTORS}),
    "one class": (data(labels=lambda n: torch.zeros(n).long()), {ONE_CLASS, CLASSES}),
    "a class that train lacks": (data(of_test=lambda n: counted(n) + 1), {CLASSES}),
    "a class of a large number": (data(labels=lambda n: counted(n) * 10**12), {CLASSES}),
    "all images black": (data(black=True), {CLASSES, ALIKE}),
    "test images of train": (data(repeated=True), {CLASSES, KNOWN}),
    "one test image": (data(test=1), {CLASSES, ERROR, VARIANCE, ALONE, PAIR}),
    "two test images": (data(test=2), {CLASSES}),
    "three test images": (data(test=3), {CLASSES}),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(features, "STEPS", 5)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METRICS)
def test_a_number_is_finite_or_missing_with_a_reason(name: str, case: str) -> None:
    odd, reasons = CASES[case]
    torch.manual_seed(0)
    model = VAE(mlp(SHAPE, 2, 2, hidden=[8]), BetaBinomial(4, 1), 2)
    result = measure(cheap(name), model, odd)
    declared = cheap(name).declarations(4)
    check(result, declared)
    assert result.values.keys() | result.missing.keys() == {each.name for each in declared}
    assert not result.values.keys() & result.missing.keys()
    assert set(result.missing.values()) <= reasons  # so no number came out as nan


def test_the_score_of_one_image_stands_without_its_error() -> None:
    model = VAE(mlp(SHAPE, 2, 2, hidden=[8]), BetaBinomial(4, 1), 2)
    result = measure(cheap("bound"), model, CASES["one test image"][0])
    assert result.values["bits_per_dim"] > 0
    assert result.missing == {"bits_per_dim_se": ERROR}
