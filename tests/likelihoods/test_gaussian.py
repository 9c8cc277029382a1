"""Gaussian is squared error with its scale; its mass is a difference of cdfs."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from families import gaussian, learned_gaussian
from vae_likelihoods.errors import SettingError
from vae_likelihoods.seeding import generator


def images(levels: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.5])
def test_density_is_squared_error_over_two_variances_plus_a_constant(sigma: float):
    mu = torch.randn(4, 1, 28, 28, generator=generator(0)).requires_grad_()
    k = images(256, 4, 1, 28, 28)
    ours = gaussian(levels=256, channels=1, scale=sigma).log_prob(mu, k)
    loss = ((k / 255 - mu) ** 2).sum((1, 2, 3)) / (2 * sigma**2)
    constant = 784 * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(ours, -loss - constant)
    gradients = [torch.autograd.grad(value.sum(), mu)[0] for value in (ours, -loss)]
    torch.testing.assert_close(*gradients)


def test_the_constant_of_an_image():
    """784 pixels, sigma = 1: -720.45 nats, D log c and not log(c)^D; the missing 1/2 would be 271.71 nats."""
    k = images(256, 1, 1, 28, 28)
    perfect = gaussian(levels=256, channels=1, scale=1.0).log_prob(k / 255, k)
    assert perfect.item() == pytest.approx(-720.45, abs=0.01)
    wrong = 784 * stats.norm(scale=math.sqrt(0.5)).logpdf(0)  # exp(-x^2) normalised
    assert wrong - perfect.item() == pytest.approx(271.71, abs=0.01)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("sigma", [0.002, 0.03, 0.3, 1.0, 5.0])
def test_mass_is_the_cdf_difference(levels: int, sigma: float):
    k = torch.arange(levels, dtype=torch.uint8).view(-1, 1, 1, 1)
    likelihood = gaussian(levels=levels, channels=1, scale=sigma)
    # Where a bin has digits left in float64, on either side of the mean.
    for mu in (-0.3, 0.0, 0.25, 0.4999, 0.9, 1.4):
        low, high = np.arange(levels) / levels, (np.arange(levels) + 1) / levels
        low[0], high[-1] = -np.inf, np.inf
        law = stats.norm(loc=np.float32(mu), scale=np.float32(sigma))
        mass = np.where(high < mu, law.cdf(high) - law.cdf(low), law.sf(low) - law.sf(high))
        ours = likelihood.log_mass(torch.full((levels, 1, 1, 1), mu), k).double().exp().numpy()
        np.testing.assert_allclose(ours, mass, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("mu", "sigma"), [(0.2, 1.0), (0.2, 0.01), (0.7, 0.003), (-3.0, 0.05), (40.0, 0.2)])
def test_far_tails_against_fifty_digits(mu: float, sigma: float):
    likelihood = gaussian(levels=256, channels=1, scale=sigma)
    with mpmath.workdps(50):
        m, s = mpmath.mpf(torch.tensor(mu).item()), mpmath.mpf(torch.tensor(sigma).item()) * mpmath.sqrt(2)
        for k in (1, 77, 200, 254):
            a, b = sorted(abs((mpmath.mpf(e) / 256 - m) / s) for e in (k, k + 1))
            inside = m * 256 > k and m * 256 < k + 1
            mass = mpmath.erf(a) + mpmath.erf(b) if inside else mpmath.erfc(a) - mpmath.erfc(b)
            ours = likelihood.log_mass(torch.full((1, 1, 1, 1), mu), torch.full((1, 1, 1, 1), k))
            assert ours.item() == pytest.approx(float(mpmath.log(mass / 2)), rel=2e-6, abs=1e-5)


def test_binary_pixels_are_a_probit():
    """K = 2: P(on) = 1 - F(1/2)."""
    mu = torch.linspace(-1, 2, 31).view(-1, 1, 1, 1)
    on = gaussian(levels=2, channels=1, scale=0.4).log_mass(mu, torch.ones(31, 1, 1, 1, dtype=torch.uint8))
    expected = stats.norm.logsf(0.5, loc=mu.flatten().double().numpy(), scale=np.float64(np.float32(0.4)))
    # A log-mass near 0 is the log of a float near 1, whose last digit is 6e-8.
    np.testing.assert_allclose(on.numpy(), expected, rtol=1e-6, atol=6e-8)


@pytest.mark.parametrize("levels", [17, 256])
def test_learned_sigma_converges_to_the_root_mean_squared_error(levels: int):
    likelihood = learned_gaussian(levels=levels, channels=1)
    mu, k = torch.rand(20, 1, 8, 8, generator=generator(0)), images(levels, 20, 1, 8, 8)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = -likelihood.log_prob(mu, k).mean() / 64
        value.backward()
        return value

    optimizer.step(loss)
    rmse = (k / (levels - 1) - mu).square().mean().sqrt().item()
    assert likelihood.summary()["scale"] == pytest.approx(rmse, rel=1e-3)


def test_learned_sigma_starts_where_told_and_stays_above_its_floor():
    likelihood = learned_gaussian(levels=256, channels=1, scale=0.2, min_scale=0.25)
    assert likelihood.summary() == {"scale": pytest.approx(0.2)}
    k = images(256, 2, 1, 4, 4)
    optimizer = torch.optim.SGD(likelihood.parameters(), lr=0.1)
    for _ in range(200):  # a perfect reconstruction: the density alone would send sigma to 0
        optimizer.zero_grad()
        (-likelihood.log_prob(k / 255, k).mean()).backward()
        optimizer.step()
    assert 0.25 / 256 < likelihood.summary()["scale"] < 0.27 / 256


@pytest.mark.parametrize("sigma", [0.05, 0.9])
def test_learned_sigma_has_the_gradient_of_the_mass(sigma: float):
    likelihood = learned_gaussian(levels=17, channels=1, scale=sigma, trained_on="mass")
    mu, k = torch.rand(50, 1, 1, 1, generator=generator(0)), images(17, 50, 1, 1, 1)
    (gradient,) = torch.autograd.grad(likelihood.log_prob(mu, k).sum(), likelihood.scale.log_excess)
    with torch.no_grad():
        start, values = likelihood.scale.log_excess.clone(), []
        for step in (0.01, -0.01):
            likelihood.scale.log_excess.copy_(start + step)
            values.append(likelihood.log_prob(mu, k).double().sum().item())
    assert gradient.item() == pytest.approx((values[0] - values[1]) / 0.02, rel=3e-3)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan, "wide", None])
def test_impossible_sigmas_are_refused(sigma: object):
    for family in (gaussian, learned_gaussian):
        with pytest.raises(SettingError, match=r"scale="):
            family(levels=256, channels=1, scale=sigma)


def test_impossible_floors_are_refused():
    with pytest.raises(SettingError, match=r"min_scale=0"):
        learned_gaussian(levels=256, channels=1, min_scale=0)
    with pytest.raises(SettingError, match=r"scale=0.1"):
        learned_gaussian(levels=2, channels=1, scale=0.1, min_scale=0.25)
