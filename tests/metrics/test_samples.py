"""Samples of models that copy, that draw afresh, that know one mode only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metrics.given import given, measure
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import Levels, levels_of
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.samples import Samples
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks

GOOD = {"images": 150, "neighbours": 5, "quantile": 0.05, "batch_size": 64}
SHAPE = (1, 8, 8)


class Gallery(nn.Module):
    """Shows one of its images [N, C, H, W] of two levels: which one, z decides, all alike likely."""

    def __init__(self, images: Tensor, surely: float = 50.0) -> None:
        super().__init__()
        self.logits = nn.Parameter((2 * images.float() - 1) * surely)

    def forward(self, z: Tensor) -> Tensor:
        below = 0.5 * torch.erfc(-z[:, 0] / math.sqrt(2))  # uniform for z ~ N(0, 1)
        return self.logits[(below * len(self.logits)).long().clamp_max(len(self.logits) - 1)]


def showing(images: Tensor, surely: float = 50.0) -> VAE:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    return VAE(Networks(encoder, Gallery(images, surely)), Bernoulli(2, 1), 1)


@pytest.fixture(scope="module")
def digits(prepared_root: Path) -> dict[str, Levels]:
    """Binary digits: train, test, and as fresh images a half of the validation split and of train."""
    prepared = PreparedDataset(prepared_root / "data" / "prepared" / "digits")
    splits = {name: levels_of(prepared, name, 2) for name in ("train", "validation", "test")}
    whole = splits["train"]
    splits["unseen"] = Levels(whole.images[1000:], whole.labels[1000:], 2, 2)
    splits["train"] = Levels(whole.images[:1000], whole.labels[:1000], 2, 2)
    return splits


@pytest.fixture(scope="module")
def data(digits: dict[str, Levels]) -> Data:
    test = digits["test"]
    return given(test.images, 2, test.labels, train=digits["train"])


def measured(model: VAE, data: Data, **settings: Any) -> dict[str, float]:
    numbers = measure(Samples(**{**GOOD, **settings}), model, data).values
    return {name: float(value) for name, value in numbers.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["means", "draws"])
def test_copies_of_training_images_are_named_as_memorised(
    data: Data, digits: dict[str, Levels], kind: str
) -> None:
    numbers = measured(showing(digits["train"].images), data)
    assert numbers[f"memorised_share_{kind}"] == 1.0
    assert numbers[f"nearest_train_ratio_{kind}"] == 0.0


@pytest.mark.parametrize("kind", ["means", "draws"])
def test_fresh_images_are_as_far_from_train_as_test_images_are(
    data: Data, digits: dict[str, Levels], kind: str
) -> None:
    fresh = torch.cat([digits["unseen"].images, digits["validation"].images])
    numbers = measured(showing(fresh), data)
    assert numbers[f"memorised_share_{kind}"] < 0.15
    assert numbers[f"nearest_train_ratio_{kind}"] == pytest.approx(1.0, abs=0.25)
    assert numbers[f"frechet_{kind}"] < 3 * numbers["frechet_train"]
    for number in ("precision", "recall", "coverage"):
        assert numbers[f"{number}_{kind}"] == pytest.approx(numbers[f"{number}_train"], abs=0.12)
    assert numbers[f"density_{kind}"] == pytest.approx(numbers["density_train"], abs=0.3)


def test_some_copies_are_counted(data: Data, digits: dict[str, Levels]) -> None:
    """Three quarters fresh, one quarter copied."""
    fresh = torch.cat([digits["unseen"].images, digits["validation"].images])
    mixed = torch.cat([fresh[:300], digits["train"].images[:100]])
    none, some = measured(showing(fresh), data), measured(showing(mixed), data)
    numbers = some["memorised_share_means"] - none["memorised_share_means"]
    assert numbers == pytest.approx(0.25, abs=0.1)


def test_one_digit_alone_is_precise_and_covers_a_tenth(data: Data, digits: dict[str, Levels]) -> None:
    unseen = digits["unseen"]
    numbers = measured(showing(unseen.images[unseen.labels == 0]), data)
    assert numbers["precision_means"] > 0.8
    assert numbers["coverage_means"] < 0.2
    assert numbers["recall_means"] < 0.3
    assert numbers["frechet_means"] > 10 * numbers["frechet_train"]


def test_noise_is_told_from_digits(data: Data) -> None:
    """Draws from pixels that are 0 or 1 with equal chance; their mean is grey, the same for all z.

    A classifier that saw digits alone takes noise for digits of some kind: precision and recall of the draws
    are not small, and it is the Fréchet distance, and the density, that tell.
    """
    numbers = measured(showing(torch.zeros(1, *SHAPE, dtype=torch.uint8), surely=0.0), data)
    assert numbers["frechet_draws"] > 10 * numbers["frechet_train"]
    assert numbers["density_draws"] < 0.6 * numbers["density_train"]
    assert numbers["coverage_draws"] < 0.7 * numbers["coverage_train"]
    assert numbers["recall_means"] < 0.05
    assert numbers["coverage_means"] < 0.1
    assert numbers["memorised_share_draws"] < 0.05


def test_the_numbers_say_on_how_many_images_and_how_good_the_features_are(data: Data) -> None:
    model = showing(data.test.images)
    assert measured(model, data, images=70)["compared_images"] == 70
    assert measured(model, data, images=10_000)["compared_images"] == len(data.test.images) == 180
    assert measured(model, data)["features_accuracy"] > 0.85


def test_the_yardstick_does_not_depend_on_the_model(data: Data, digits: dict[str, Levels]) -> None:
    one, other = (measured(showing(digits[name].images), data) for name in ("test", "train"))
    for number in ("frechet", "precision", "recall", "density", "coverage"):
        assert one[f"{number}_train"] == other[f"{number}_train"]


def test_where_test_images_lie_in_train_there_is_no_ratio(digits: dict[str, Levels]) -> None:
    test = digits["test"]
    numbers = measured(showing(test.images), given(test.images, 2, test.labels))
    assert numbers["memorised_share_means"] == 1.0
    assert "nearest_train_ratio_means" not in numbers


@pytest.mark.parametrize(
    ("key", "value"),
    [("images", 1), ("neighbours", 0), ("quantile", 0.0), ("quantile", 1.0), ("batch_size", 0)],
)
def test_settings_that_cannot_be(key: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Samples(**{**GOOD, key: value})
    assert caught.value.key == f"{key}"
