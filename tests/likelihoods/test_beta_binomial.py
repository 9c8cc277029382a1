"""Beta-binomial against scipy and digammas in float64, from nearly binary to nearly binomial pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial, plain_log_pmf
from vae_likelihoods.seeding import generator

BOUND = math.log(1e4)


def raw_concentration(c: float) -> float:
    """The second output that gives concentration c with the defaults."""
    return BOUND * math.atanh(math.log(c / 2) / BOUND)


def pixels(eta: float, c: float, count: int) -> torch.Tensor:
    return torch.tensor([eta, raw_concentration(c)]).view(1, 2, 1, 1).repeat(count, 1, 1, 1)


def parameters(outputs: torch.Tensor, likelihood: BetaBinomial) -> tuple[np.ndarray, np.ndarray]:
    """a and b in float64, from what the likelihood computes for its own outputs."""
    eta, log_c = likelihood._mean_and_concentration(outputs.detach().view(-1, 2, 1, 1, 1))
    c = np.exp(log_c.double().numpy().ravel())
    return c * special.expit(eta.double().numpy().ravel()), c * special.expit(-eta.double().numpy().ravel())


@pytest.mark.parametrize("eta", [-15.0, -4.0, -0.7, 0.0, 0.3, 5.0, 12.0])
@pytest.mark.parametrize("c", [0.001, 0.1, 2.0, 30.0, 1000.0, 15000.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_it_is_scipys_beta_binomial(eta: float, c: float, levels: int):
    likelihood = BetaBinomial(levels=levels, channels=1)
    k, outputs = np.arange(levels), pixels(eta, c, levels)
    ours = likelihood.log_mass(outputs, torch.tensor(k).view(-1, 1, 1, 1))
    a, b = parameters(outputs, likelihood)
    assert a[0] + b[0] == pytest.approx(c, rel=1e-4)
    np.testing.assert_allclose(
        ours.numpy(), stats.betabinom.logpmf(k, levels - 1, a, b), rtol=3e-6, atol=5e-6
    )


@pytest.mark.parametrize("c", [0.01, 1.0, 50.0, 10000.0])
def test_gradient_is_made_of_digamma_differences(c: float):
    likelihood, n = BetaBinomial(levels=256, channels=1), 255
    outputs = torch.tensor([[e, raw_concentration(c)] for e in (-6.0, -1.0, 0.0, 0.4, 3.0)]).view(5, 2, 1, 1)
    outputs = outputs.repeat_interleave(6, 0).requires_grad_()
    k = np.tile([0, 1, 80, 128, 254, 255], 5)
    value = likelihood.log_mass(outputs, torch.tensor(k).view(-1, 1, 1, 1))
    (gradient,) = torch.autograd.grad(value.sum(), outputs)
    a, b = parameters(outputs, likelihood)
    by_a = special.digamma(a + k) - special.digamma(a) - special.digamma(a + b + n) + special.digamma(a + b)
    by_b = (
        special.digamma(b + n - k) - special.digamma(b) - special.digamma(a + b + n) + special.digamma(a + b)
    )
    by_eta = a * b / (a + b) * (by_a - by_b)
    by_raw = (a * by_a + b * by_b) * (1 - (math.log(c / 2) / BOUND) ** 2)
    np.testing.assert_allclose(gradient[:, 0].flatten().numpy(), by_eta, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(gradient[:, 1].flatten().numpy(), by_raw, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_value_and_gradient_are_those_of_the_plain_pmf(levels: int):
    """Log-gammas in float64, from nearly binary to nearly binomial pixels, for every level."""
    likelihood = BetaBinomial(levels, 1)
    etas, raws = torch.linspace(-25, 25, 31), torch.linspace(-12, 9, 22)
    rows = torch.cartesian_prod(etas, raws, torch.arange(levels, dtype=torch.float32))
    outputs, k = rows[:, :2].reshape(-1, 2, 1, 1, 1), rows[:, 2].long().view(-1, 1, 1, 1)
    outputs.requires_grad_()
    eta, log_c = likelihood._mean_and_concentration(outputs)  # rounded to float32, as the likelihood has them
    log_mass = likelihood._log_mass(outputs, k)
    expected = plain_log_pmf(levels - 1, eta.double(), log_c.double(), k)
    torch.testing.assert_close(log_mass.double(), expected, rtol=3e-6, atol=5e-6)
    gradients = [torch.autograd.grad(value.sum(), outputs)[0] for value in (log_mass, expected)]
    torch.testing.assert_close(*gradients, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_outputs_of_zero_are_the_uniform_pmf(levels: int):
    k = torch.arange(levels).view(-1, 1, 1, 1)
    log_mass = BetaBinomial(levels=levels, channels=1).log_mass(torch.zeros(levels, 2, 1, 1), k)
    torch.testing.assert_close(log_mass, torch.full((levels,), -math.log(levels)), rtol=1e-6, atol=1e-6)


def test_the_concentration_is_bounded_and_the_probability_is_not():
    """P(255) where p underflows is a (n-1)! c ... / ...: log P = log p + log c - log c_n + log 255! / 255."""
    likelihood = BetaBinomial(levels=256, channels=1)
    raw = torch.tensor([-1e6, 1e6]).view(2, 1, 1, 1)
    _, log_c = likelihood._mean_and_concentration(raw.repeat(1, 2, 1, 1).view(2, 2, 1, 1, 1))
    torch.testing.assert_close(log_c.flatten(), math.log(2) + torch.tensor([-BOUND, BOUND]))
    outputs = torch.tensor([-1000.0, 0.0]).view(1, 2, 1, 1)
    expected = -1000 + math.log(2) + special.gammaln(255) - special.gammaln(257) + special.gammaln(2)
    ours = likelihood.log_mass(outputs, torch.full((1, 1, 1, 1), 255))
    assert ours.item() == pytest.approx(expected, rel=1e-6)


def test_two_levels_are_the_bernoulli_whatever_the_concentration():
    outputs = (4 * torch.randn(100, 2, 1, 1, generator=generator(0))).requires_grad_()
    k = torch.randint(0, 2, (100, 1, 1, 1), generator=generator(1), dtype=torch.uint8)
    ours = BetaBinomial(levels=2, channels=1).log_mass(outputs, k)
    bernoulli = Bernoulli(levels=2, channels=1).log_mass(outputs[:, :1], k)
    torch.testing.assert_close(ours, bernoulli, rtol=1e-5, atol=2e-6)
    (gradient,) = torch.autograd.grad(ours.sum(), outputs)
    assert gradient[:, 1].abs().max() < 1e-4


@pytest.mark.parametrize(
    ("key", "value"), [("concentration", 0.0), ("concentration", 1e9), ("spread", 1.0), ("spread", 1e9)]
)
def test_impossible_bounds_are_refused(key: str, value: float):
    with pytest.raises(SettingError, match=f"{key}="):
        BetaBinomial(levels=256, channels=1, **{key: value})
