"""The mean over pixels beside a summed KL."""

from __future__ import annotations

import pytest
import torch

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow
from vae_likelihoods.gallery.reduction import MeanReduced
from vae_likelihoods.gallery.training import make_trainer
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.seeding import generator


def test_it_is_the_elbo_with_beta_784(images: Images) -> None:
    binary = images.at(2)

    def gradient(objective: Objective) -> torch.Tensor:
        trainer = make_trainer(binary, Bernoulli(2, 1), objective, epochs=1, seed=0)
        objective(trainer.model, binary.train[:16], generator(0, "test"), 1).loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])

    wrong, right = gradient(MeanReduced()), gradient(ELBO(beta=784.0, warmup_epochs=0))
    assert torch.allclose(784 * wrong, right, rtol=1e-3, atol=1e-4 * right.abs().max().item())


@pytest.mark.slow
def test_a_model_trained_with_it_collapses(trained_rows: dict[str, GalleryRow]) -> None:
    weight, score, rate, active = trained_rows["mean_reduction"].findings
    assert weight.damage == 784
    assert score.right < score.wrong - 0.05
    assert rate.right > 5
    assert rate.wrong < 0.1
    assert active.right > 0
    assert active.wrong == 0
