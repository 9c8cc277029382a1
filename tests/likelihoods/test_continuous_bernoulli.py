"""Continuous Bernoulli: torch's density, integrated over bins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from vae_likelihoods.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vae_likelihoods.seeding import generator

ETAS = (-12.0, -3.0, -0.5, 0.4, 1.0, 6.0, 11.0)


def reference(eta: float) -> torch.distributions.ContinuousBernoulli:
    return torch.distributions.ContinuousBernoulli(logits=torch.tensor(eta, dtype=torch.float64))


@pytest.mark.parametrize("eta", ETAS)
def test_density_is_that_of_torch(eta: float):
    k = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    ours = ContinuousBernoulli(levels=256, channels=1).log_prob(torch.full((256, 1, 1, 1), eta), k)
    theirs = reference(eta).log_prob(torch.arange(256, dtype=torch.float64) / 255)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_mass_is_the_density_integrated_over_the_bin(eta: float, levels: int):
    likelihood, law = ContinuousBernoulli(levels=levels, channels=1), reference(eta)
    for k in {0, 1, levels // 3, levels - 1}:
        mass, _ = integrate.quad(
            lambda x: law.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item(),
            k / levels,
            (k + 1) / levels,
        )
        ours = likelihood.log_mass(torch.full((1, 1, 1, 1), eta), torch.full((1, 1, 1, 1), k))
        assert ours.item() == pytest.approx(math.log(mass), rel=1e-5, abs=1e-6)


def test_binary_mass_is_a_sigmoid_of_half_the_logit():
    eta = torch.linspace(-30, 30, 61)
    on = ContinuousBernoulli(levels=2, channels=1).log_mass(
        eta.view(-1, 1, 1, 1), torch.ones(61, 1, 1, 1, dtype=torch.uint8)
    )
    torch.testing.assert_close(on, torch.nn.functional.logsigmoid(eta / 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mean", "nats"), [(0.5, 0.6931), (0.1, 1.0103), (0.01, 1.5452), (1e-4, 2.2205)])
def test_what_cross_entropy_on_grey_pixels_leaves_out(mean: float, nats: float):
    """log C(lambda), lambda = sigmoid(eta): the density less minus the cross-entropy."""
    eta = torch.tensor(math.log(mean / (1 - mean))).view(1, 1, 1, 1)
    k = torch.full((1, 1, 1, 1), 51)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(eta, k / 255)
    log_normaliser = ContinuousBernoulli(levels=256, channels=1).log_prob(eta, k) + bce
    assert log_normaliser.item() == pytest.approx(nats, abs=1e-4)


def test_gradient_at_zero_is_that_of_a_truncated_geometric():
    """Where training starts: (k - (K-1)/2) / K for the mass, x - 1/2 for the density, at +0 and at -0."""
    likelihood = ContinuousBernoulli(levels=256, channels=1)
    k = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    for zero in (0.0, -0.0):
        eta = torch.full((256, 1, 1, 1), zero, requires_grad=True)
        (of_mass,) = torch.autograd.grad(likelihood.log_mass(eta, k).sum(), eta)
        (of_density,) = torch.autograd.grad(likelihood.log_prob(eta, k).sum(), eta)
        torch.testing.assert_close(of_mass, (k - 127.5) / 256, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(of_density, k / 255 - 0.5, rtol=1e-5, atol=1e-6)


def test_mean_is_not_lambda_but_the_average_of_samples():
    eta = torch.full((20000, 1, 1, 1), 3.0)
    likelihood = ContinuousBernoulli(levels=256, channels=1)
    sample = likelihood.sample(eta, generator(0)).double().mean() / 255
    mean = likelihood.mean(eta[:1]).item()
    assert mean == pytest.approx(sample.item(), abs=0.01)
    assert mean == pytest.approx(reference(3.0).mean.item(), abs=2e-3)
    assert abs(mean - 1 / (1 + np.exp(-3))) > 0.2
