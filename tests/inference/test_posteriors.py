"""Better posteriors on a frozen decoder, against an optimiser that uses neither samples nor gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor
from torch.distributions import Normal

from families import learned_gaussian
from training_settings import training
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.inference.posteriors import on_mass, optimised, refitted
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator

SHAPE, LEVELS = (1, 3, 3), 16
REFIT = training(epochs=40, batch_size=50)


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Make everything of float64, so that searches and trainings end with the same on any processor."""
    with default_dtype(torch.float64):
        yield


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(1)
    model = VAE(mlp(SHAPE, 1, 1, hidden=[32]), learned_gaussian(LEVELS, 1, scale=0.15), 1)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(2)
    return model


@pytest.fixture
def levels(model: VAE) -> Tensor:
    noise = generator(0, "data")
    with torch.no_grad():
        return model.draw(400, noise)


@torch.no_grad()
def exact_elbo(model: VAE, levels: Tensor, mean: float, log_scale: float) -> float:
    """The ELBO of one image by Gauss-Hermite quadrature, float64."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = mean + math.exp(log_scale) * torch.tensor(nodes)
    log_mass = model.likelihood.log_mass(model.decode(z.view(-1, 1, 1)), levels).double().flatten()
    expected = (log_mass * torch.tensor(weights / weights.sum())).sum().item()
    return expected - 0.5 * (mean**2 + math.exp(2 * log_scale) - 1 - 2 * log_scale)


def test_nelder_and_mead_hardly_improve_the_best_gaussian(model: VAE, levels: Tensor) -> None:
    """The exact loss falls. Two of the posteriors are very steep, so that draws say little about them."""
    images = levels[:6]
    start = Normal(torch.full((6, 1), 0.1), torch.full((6, 1), 1.0), validate_args=False)
    best = optimised(model, images, start, 300, 0.05, 32, generator(0, "noise"))
    left, gained = [], []
    for index in range(6):
        image, fitted = images[index : index + 1], (best.mean[index].item(), best.stddev[index].log().item())

        def loss(q: np.ndarray, image: Tensor = image) -> float:
            return -exact_elbo(model, image, *q)

        reached = loss(np.array(fitted))
        left.append(reached - optimize.minimize(loss, fitted, method="Nelder-Mead").fun)
        gained.append(loss(np.array([0.1, 0.0])) - reached)
    assert np.median(left) < 0.05
    assert max(left) < 0.5
    assert min(gained) > 3


def test_an_image_is_optimised_by_itself(model: VAE, levels: Tensor) -> None:
    """Images do not affect each other: what is optimal already stays, whatever the other images are."""
    start = Normal(torch.zeros(3, 1), torch.ones(3, 1), validate_args=False)
    together = optimised(model, levels[:3], start, 3, 0.05, 8, generator(0, "noise"))
    other = torch.cat([levels[:1], levels[5:7]])
    apart = optimised(model, other, start, 3, 0.05, 8, generator(0, "noise"))
    torch.testing.assert_close(together.mean[0], apart.mean[0], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(together.mean[1:], apart.mean[1:], atol=1e-3)


def test_nothing_of_the_model_is_touched(model: VAE, levels: Tensor) -> None:
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        q = model.posterior(levels[:4])
        optimised(model, levels[:4], q, 3, 0.1, 4, generator(0, "noise"))
        refitted(model, levels[:100], levels[100:150], REFIT.model_copy(update={"epochs": 2}), 1e-2, 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_refitted_encoder_fits_a_decoder_that_the_first_did_not(model: VAE, levels: Tensor) -> None:
    """The encoder was never trained; training it on other images closes most of the gap."""
    train, validation, test = levels.split([250, 50, 100])
    again = refitted(model, train, validation, REFIT, 1e-2, 0)
    assert again.decoder is model.decoder

    def elbo(q: Normal) -> float:
        return importance_weighted(model, test, q, [500], generator(0, "e"), 5000).elbo.mean().item()

    with torch.no_grad():
        first, refit = elbo(model.posterior(test)), elbo(again.posterior(test))
        best = elbo(optimised(model, test, again.posterior(test), 200, 0.03, 16, generator(0, "noise")))
    assert first < refit - 1
    assert 0.5 * (best - first) < refit - first < best - first


def test_on_mass_is_a_copy_that_trains_on_what_it_is_scored_on(model: VAE, levels: Tensor) -> None:
    density = learned_gaussian(LEVELS, 1, scale=0.15, trained_on="density")
    outputs = torch.rand(4, *SHAPE, generator=generator(0, "o"))
    mass = on_mass(density)
    torch.testing.assert_close(mass.log_prob(outputs, levels[:4]), density.log_mass(outputs, levels[:4]))
    assert density.trained_on == "density"
