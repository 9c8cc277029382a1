"""The small VAE of the trained rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.training import LATENTS, make_trainer, scored, trained
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.objectives.elbo import ELBO


@pytest.fixture
def few(images: Images) -> Images:
    binary = images.at(2)
    return replace(binary, train=binary.train[:128], validation=binary.validation[:16], test=binary.test[:16])


def test_the_same_seed_gives_the_same_score_and_another_seed_another(few: Images) -> None:
    objective = ELBO(beta=1.0, warmup_epochs=0)
    first, again, other = (
        scored(trained(few, Bernoulli(2, 1), objective, 2, seed), few.test, seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_model_that_knows_nothing_costs_one_bit_a_pixel(few: Images) -> None:
    model = make_trainer(few, Bernoulli(2, 1), ELBO(beta=1.0, warmup_epochs=0), epochs=1, seed=0).model
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)  # q is the prior, every pixel a fair coin
    score = scored(model, few.test, seed=0)
    assert score.bits_per_dim == pytest.approx(1, rel=1e-6)
    assert (score.rate_nats, score.active_units) == (0, 0)


def test_rate_and_active_units_of_posteriors_that_are_known(few: Images) -> None:
    model = make_trainer(few, Bernoulli(2, 1), ELBO(beta=1.0, warmup_epochs=0), epochs=1, seed=0).model
    means = torch.tensor([-1.0, 1.0]).repeat(8)[:, None] * (torch.arange(LATENTS) < 3)
    model.encoder = torch.nn.Module()
    model.encoder.forward = lambda points: torch.cat([means, torch.zeros_like(means)], 1)
    score = scored(model, few.test, seed=0)
    assert score.active_units == 3
    assert score.rate_nats == pytest.approx(3 * 0.5)
    nats = (score.distortion_nats + score.rate_nats) / 784
    assert score.bits_per_dim == pytest.approx(nats / math.log(2))
