"""Classifiers of the latent means on planted classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from families import gaussian
from metrics.given import given, measure
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.probe import Probe, most_frequent, summarise
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.seeding import generator

GOOD = {"neighbours": 5, "regularisation": 1.0, "batch_size": 16}


class Copied(nn.Module):
    """The two pixels themselves as posterior means."""

    def forward(self, points: Tensor) -> Tensor:
        flat = points.flatten(1)
        return torch.cat([flat, torch.zeros_like(flat)], 1)


def model() -> VAE:
    made = VAE(Networks(Copied(), nn.Unflatten(-1, (1, 1, 2))), gaussian(256, 1, scale=0.1), 2)
    made.register_parameter("any", nn.Parameter(torch.zeros(())))  # a model has the type of its weights
    return made


def split(labels_of: Any, images: int, purpose: str) -> Levels:
    """Return images of two random pixels, and the labels that `labels_of` gives for the pixels in [0, 1]."""
    levels = torch.randint(256, (images, 1, 1, 2), generator=generator(0, purpose), dtype=torch.uint8)
    return Levels(levels, labels_of(levels.flatten(1) / 255).long(), 256, 256)


def accuracies(labels_of: Any) -> dict[str, float]:
    train, test = split(labels_of, 400, "train"), split(labels_of, 200, "test")
    data = given(test.images, 256, test.labels, train=train)
    result = measure(Probe(**GOOD), model(), data).values
    return {name: float(value) for name, value in result.items()}  # type: ignore[arg-type]


def test_halves_of_a_square_are_known_to_both_probes() -> None:
    result = accuracies(lambda x: x[:, 0] > 0.5)
    assert result["linear_probe_accuracy"] > 0.97
    assert result["knn_accuracy"] > 0.95
    assert 0.4 < result["majority_accuracy"] < 0.6


def test_a_chequered_square_is_known_to_neighbours_alone() -> None:
    """Exclusive or: no line tells the classes apart, and the neighbours do."""
    result = accuracies(lambda x: (x[:, 0] > 0.5) ^ (x[:, 1] > 0.5))
    assert result["linear_probe_accuracy"] < 0.65
    assert result["knn_accuracy"] > 0.9


def test_labels_that_the_latents_do_not_know_are_guessed() -> None:
    result = accuracies(lambda x: torch.randint(2, (len(x),), generator=generator(0, "guess")))
    assert result["linear_probe_accuracy"] == pytest.approx(0.5, abs=0.12)
    assert result["knn_accuracy"] == pytest.approx(0.5, abs=0.12)


def test_a_train_split_of_one_class_gives_no_number() -> None:
    """An accuracy of 1 among one class says nothing of the latents."""
    train = split(lambda x: torch.full((len(x),), 1), 20, "train")
    test = split(lambda x: torch.full((len(x),), 1), 50, "test")
    result = measure(Probe(**GOOD), model(), given(test.images, 256, test.labels, train=train), "m")
    assert result.values == {}
    assert set(result.missing.values()) == {"all images of train have one class"}


def test_labels_of_factors_give_no_number() -> None:
    images = torch.zeros(4, 1, 1, 2, dtype=torch.uint8)
    factors = given(images, 256, labels=torch.zeros(4, 2, dtype=torch.int64))
    result = measure(Probe(**GOOD), model(), factors, "m")
    assert result.values == {}
    assert set(result.missing.values()) == {"the labels are factors, not classes"}


def test_the_most_frequent_class_may_have_any_number() -> None:
    assert most_frequent(np.array([7, 10**12, 10**12, 7, 10**12])) == 10**12


def test_accuracy_and_its_standard_error_of_planted_answers() -> None:
    result = Measured.of(summarise({"knn": np.array([True, True, True, False])}))
    assert result.values["knn_accuracy"] == 0.75
    np.testing.assert_array_equal(result.per_image["knn_accuracy"], [1, 1, 1, 0])
    assert result.values["knn_accuracy_se"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


@pytest.mark.parametrize(
    ("key", "value"),
    [("neighbours", 0), ("regularisation", 0.0), ("regularisation", math.inf), ("batch_size", 0)],
)
def test_settings_that_cannot_be(key: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Probe(**{**GOOD, key: value})
    assert caught.value.key == f"{key}"
