"""What cross-entropy on grey pixels lacks, and which objective it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from vae_likelihoods.gallery.cross_entropy import CrossEntropyOnGrey, minus_cross_entropy
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow
from vae_likelihoods.gallery.training import make_trainer
from vae_likelihoods.likelihoods.binomial import Binomial
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.seeding import generator


def log_c(rho: float) -> float:
    """The normaliser of the continuous Bernoulli, Loaiza-Ganem and Cunningham 2019, equation 3."""
    return math.log(2 * math.atanh(1 - 2 * rho) / (1 - 2 * rho)) if rho != 0.5 else math.log(2)


@pytest.mark.parametrize(("rho", "missing"), [(0.5, 0.6931), (0.1, 1.0103), (0.01, 1.5452), (1e-4, 2.2205)])
def test_cross_entropy_does_not_integrate_to_one(rho: float, missing: float) -> None:
    logit = torch.logit(torch.tensor(rho, dtype=torch.float64)).view(1, 1, 1, 1)

    def wrong_density(x: float) -> float:
        return minus_cross_entropy(logit, torch.full_like(logit, x)).exp().item()

    assert -math.log(quad(wrong_density, 0, 1)[0]) == pytest.approx(missing, abs=5e-5)


def test_at_least_543_nats_are_missing(rows: dict[str, GalleryRow]) -> None:
    least, _ = rows["cross_entropy_on_grey"].findings
    assert least.right == pytest.approx(0, abs=1e-3)
    assert least.damage == pytest.approx(543.4, abs=0.05)


def test_what_is_missing_with_the_train_splits_pixel_means_is_the_sum_of_the_normalisers(
    images: Images, rows: dict[str, GalleryRow]
) -> None:
    pixels = images.train.numpy().reshape(len(images.train), -1) / 255
    rho = (pixels.sum(0) + 0.5) / (len(pixels) + 1)
    _, real = rows["cross_entropy_on_grey"].findings
    assert real.damage == pytest.approx(sum(map(log_c, rho)), rel=1e-5)
    scored = images.test.numpy().reshape(len(images.test), -1) / 255
    entropy = scored * np.log(rho) + (1 - scored) * np.log1p(-rho)
    assert real.wrong == pytest.approx(entropy.sum(1).mean(), rel=1e-5)


def test_training_on_it_is_training_a_binomial_with_beta_255(images: Images) -> None:
    def gradient(objective: Objective) -> torch.Tensor:
        trainer = make_trainer(images, Binomial(256, 1), objective, epochs=1, seed=0)
        objective(trainer.model, images.train[:16], generator(0, "test"), 1).loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])

    wrong, right = gradient(CrossEntropyOnGrey()), gradient(ELBO(beta=255.0, warmup_epochs=0))
    assert torch.allclose(255 * wrong, right, rtol=1e-3, atol=1e-4 * right.abs().max().item())


@pytest.mark.slow
def test_a_model_trained_on_it_scores_worse_as_either_likelihood_and_uses_its_latents_less(
    trained_rows: dict[str, GalleryRow],
) -> None:
    weight, *compared = trained_rows["training_on_cross_entropy"].findings
    assert weight.damage == 255
    for score, rate in (compared[:2], compared[2:]):
        assert score.right < score.wrong - 1
        assert rate.wrong < rate.right / 4
