"""Each protected formula alone, against scipy in float64 or mpmath."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

from vae_likelihoods.likelihoods import normal_numerics as normal
from vae_likelihoods.likelihoods import numerics


def assert_near(actual: torch.Tensor, expected: np.ndarray, rtol: float, atol: float = 0.0) -> None:
    np.testing.assert_allclose(actual.detach().double().numpy(), expected, rtol=rtol, atol=atol)


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def exact(function: Callable[..., mpmath.mpf], x: torch.Tensor) -> np.ndarray:
    """`function` at the float32 values of `x`, in 50 digits."""
    return np.array([float(function(mpmath.mpf(value))) for value in x.tolist()])


def test_langevin_ratio():
    y = torch.cat([torch.logspace(-12, 8, 400), torch.tensor([0.75, 0.7499])])
    expected = exact(lambda v: (mpmath.coth(v) - 1 / v) / v, y)
    assert_near(numerics.langevin_ratio(y), expected, rtol=2e-6)
    assert torch.equal(numerics.langevin_ratio(-y), numerics.langevin_ratio(y))
    assert numerics.langevin_ratio(torch.zeros(1)).item() == pytest.approx(1 / 3)


def test_log_uniform_decay_and_its_slope():
    t = torch.logspace(-8, 6, 300).requires_grad_()
    value = numerics.log_uniform_decay(t)
    assert_near(value, exact(lambda v: mpmath.log(-mpmath.expm1(-v) / v), t), rtol=1e-6, atol=2e-7)
    (slope,) = torch.autograd.grad(value.sum(), t)
    assert_near(slope, exact(lambda v: 1 / mpmath.expm1(v) - 1 / v, t), rtol=1e-5, atol=2e-7)
    zero = torch.zeros(1, requires_grad=True)
    value = numerics.log_uniform_decay(zero)
    assert value.item() == 0
    assert torch.autograd.grad(value.sum(), zero)[0].item() == -0.5


def test_mills_ratio():
    x = torch.cat([torch.zeros(1), torch.logspace(-4, 8, 500)])
    exact = math.sqrt(math.pi / 2) * special.erfcx(x.double().numpy() / math.sqrt(2))
    assert_near(normal.mills_ratio(x), exact, rtol=5e-7)


def test_log_ndtr_and_its_slope():
    x = torch.cat([torch.linspace(-20, 8, 561), -torch.logspace(1, 8, 50)]).requires_grad_()
    value = normal.log_ndtr(x)
    assert_near(value, special.log_ndtr(x.detach().double().numpy()), rtol=3e-6)
    (slope,) = torch.autograd.grad(value.sum(), x)
    inner = x.detach() > -20
    assert_near(slope[inner], exact(lambda v: mpmath.npdf(v) / mpmath.ncdf(v), x[inner]), rtol=5e-6)
    far = x.detach() <= -20  # phi / Phi = -x - 1/x + 2/x^3 - ... down there
    assert_near(slope[far], exact(lambda v: -v - 1 / v + 2 / v**3, x[far]), rtol=5e-6)


@pytest.mark.parametrize("width", [1e-3, 1 / 256, 0.05, 0.1999, 0.2001, 0.7, 3.0, 10.0])
def test_log_normal_interval_and_its_slopes(width: float):
    """Narrow, wide, central and far: against 50 digits."""
    centre = torch.tensor(
        [0.0, 1e-6, 0.01, -0.3, 0.5, 1.0, -2.2, 5.0, 9.0, -15.0, 40.0, 300.0], requires_grad=True
    )
    w = torch.tensor(width, requires_grad=True)

    def log_mass(c: mpmath.mpf, v: mpmath.mpf) -> mpmath.mpf:
        low, high = (abs(c) - v / 2) / mpmath.sqrt(2), (abs(c) + v / 2) / mpmath.sqrt(2)
        return mpmath.log((mpmath.erfc(low) - mpmath.erfc(high)) / 2)

    points = [(mpmath.mpf(c), mpmath.mpf(w.item())) for c in centre.tolist()]
    values = [float(log_mass(*p)) for p in points]
    by_centre = [float(mpmath.diff(log_mass, p, (1, 0))) if p[0] else 0.0 for p in points]
    by_width = [float(mpmath.diff(log_mass, p, (0, 1))) for p in points]
    result = normal.log_normal_interval(centre, w)
    assert_near(result, np.array(values), rtol=1e-6, atol=3e-6)
    slopes = torch.autograd.grad(result.sum(), (centre, w))
    assert_near(slopes[0], np.array(by_centre), rtol=2e-5, atol=1e-6)
    for i, expected in enumerate(by_width):
        (slope,) = torch.autograd.grad(normal.log_normal_interval(centre[i], w), w)
        assert slope.item() == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 16, 255])
def test_log_binomial_at_mode(n: int):
    k = np.arange(n + 1)
    assert_near(numerics.log_binomial_at_mode(n), stats.binom.logpmf(k, n, k / n), rtol=1e-6, atol=1e-12)


def test_stirling_half_and_its_slope():
    x = torch.cat([torch.zeros(1), torch.logspace(-5, 5, 300)])
    constant = mpmath.log(2 * mpmath.pi) / 2
    half = mpmath.mpf("0.5")
    large = lambda v: (v + half) * (mpmath.log(v + half) - 1) + constant  # noqa: E731
    expected = exact(lambda v: mpmath.loggamma(v + 1) - large(v), x)
    assert_near(numerics.stirling_half(x), expected, rtol=0, atol=3e-8)
    slope = exact(lambda v: mpmath.digamma(v + 1) - mpmath.log(v + half), x)
    assert_near(numerics.stirling_half_slope(x), slope, rtol=0, atol=3e-6)


def test_binet_and_its_slope():
    x = 1 + torch.cat([torch.zeros(1), torch.logspace(-5, 5, 300)])
    constant = mpmath.log(2 * mpmath.pi) / 2
    expected = exact(lambda v: mpmath.loggamma(v) - (v - 0.5) * mpmath.log(v) + v - constant, x)
    assert_near(numerics.binet(x), expected, rtol=0, atol=2e-8)
    slope = exact(lambda v: mpmath.digamma(v) - mpmath.log(v) + 1 / (2 * v), x)
    assert_near(numerics.binet_slope(x), slope, rtol=0, atol=6e-7)


def test_select_and_mirrored_are_exact():
    yes, no = torch.randn(100), torch.randn(100)
    condition = torch.rand(100) > 0.5
    assert torch.equal(numerics.select(condition, yes, no), torch.where(condition, yes, no))
    k, side = torch.arange(256.0), numerics.side_of(torch.randn(256))
    assert torch.equal(numerics.mirrored(k, 255, side), torch.where(side > 0, k, 255 - k))
    assert torch.equal(numerics.side_of(torch.tensor([0.0, -0.0])), torch.tensor([1.0, -1.0]))
