"""Independent pixels and a uniform guess, against counting and scikit-learn."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.naive_bayes import CategoricalNB

from conftest import CONF
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.baselines import SMOOTHING, Baselines
from vae_likelihoods.models.independent import Independent


def measured(train: torch.Tensor, test: torch.Tensor, levels: int, batch_size: int = 7) -> Measured:
    data: Any = SimpleNamespace(
        train=SimpleNamespace(images=train), test=SimpleNamespace(images=test), levels=levels
    )
    model: Any = None
    return Measured.of(Baselines(batch_size)(model, data, torch.Generator()))


@pytest.mark.parametrize("levels", [2, 5])
def test_independent_pixels_are_those_of_scikit_learn(levels: int) -> None:
    """Naive Bayes with one class is a smoothed histogram for each feature."""
    draws = np.random.default_rng(0)
    train, test = (draws.binomial(levels - 1, 0.3, (n, 2, 3, 3)).astype(np.uint8) for n in (40, 9))
    model = CategoricalNB(alpha=0.5, min_categories=levels).fit(train.reshape(40, -1), np.zeros(40))
    expected = [
        -sum(model.feature_log_prob_[d][0, k] for d, k in enumerate(image)) for image in test.reshape(9, -1)
    ]
    found = measured(torch.as_tensor(train), torch.as_tensor(test), levels)
    np.testing.assert_allclose(found.per_image["independent_pixels_nats"], expected, rtol=1e-12)
    bits = found.values["independent_pixels_bits_per_dim"]
    assert bits == pytest.approx(np.mean(expected) / 18 / math.log(2))


def test_independent_pixels_are_the_model_of_that_name() -> None:
    draws = torch.Generator().manual_seed(0)
    train, test = (torch.randint(3, (n, 1, 2, 2), dtype=torch.uint8, generator=draws) for n in (20, 9))
    model = Independent((1, 2, 2), 3, OmegaConf.load(CONF / "model" / "independent.yaml").smoothing)
    model.fit(train, test)
    expected = -model.double().log_mass(test).numpy()
    found = measured(train, test, 3).per_image["independent_pixels_nats"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert model.smoothing == SMOOTHING


@pytest.mark.parametrize(("levels", "bits"), [(2, 1.0), (256, 8.0), (17, math.log2(17))])
def test_a_uniform_guess_scores_log2_k(levels: int, bits: float) -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert measured(images, images, levels).values["uniform_bits_per_dim"] == pytest.approx(bits)


def test_fair_coins_cost_a_bit() -> None:
    draws = torch.randint(2, (4000, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = measured(draws[:3000], draws[3000:], 2, batch_size=512)
    assert found.values["independent_pixels_bits_per_dim"] == pytest.approx(1.0, abs=0.01)


def test_batches_change_nothing() -> None:
    draws = torch.randint(4, (30, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one, other = (measured(draws[:20], draws[20:], 4, size) for size in (1, 100))
    assert one.values == pytest.approx(other.values, rel=1e-12)
