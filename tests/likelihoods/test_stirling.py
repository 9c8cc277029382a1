"""The remainders of Stirling's formula against 50 digits."""

from __future__ import annotations

import mpmath
import torch
from torch import Tensor

from digits import assert_near, exact
from vae_likelihoods.likelihoods.stirling import BINET, STIRLING_HALF, Coefficients, OddSeries

HALF = mpmath.mpf("0.5")


def value_and_slope(coefficients: Coefficients, y: Tensor) -> tuple[Tensor, Tensor]:
    value, slope = torch.zeros_like(y), torch.zeros_like(y)
    OddSeries(*(torch.empty_like(y) for _ in range(3))).add(coefficients, y, 1, value, slope)
    return value, slope


def log_sqrt_2pi() -> mpmath.mpf:
    return mpmath.log(2 * mpmath.pi) / 2


def test_stirling_half_and_its_slope():
    y = 1.5 + torch.cat([torch.zeros(1), torch.logspace(-5, 5, 300)])
    value, slope = value_and_slope(STIRLING_HALF, y)
    expected = exact(lambda v: mpmath.loggamma(v + HALF) - v * (mpmath.log(v) - 1) - log_sqrt_2pi(), y)
    # Six of them make up a log-mass, which float32 rounds to about 1e-6.
    assert_near(value, expected, rtol=0, atol=4.5e-7)
    # The slope is multiplied by y - 3/2, and fitted so.
    weight = (y - 1.5).double().numpy()
    expected = weight * exact(lambda v: mpmath.digamma(v + HALF) - mpmath.log(v), y)
    assert_near((y - 1.5) * slope, expected, rtol=0, atol=4.5e-6)


def test_binet_and_its_slope():
    y = 3 + torch.cat([torch.zeros(1), torch.logspace(-5, 5, 300)])
    value, slope = value_and_slope(BINET, y)
    expected = exact(lambda v: mpmath.loggamma(v) - (v - HALF) * mpmath.log(v) + v - log_sqrt_2pi(), y)
    assert_near(value, expected, rtol=0, atol=4.5e-7)
    # The slope is multiplied by y - 3.
    expected = exact(lambda v: mpmath.digamma(v) - mpmath.log(v) + 1 / (2 * v), y)
    assert_near(slope, expected, rtol=0, atol=2.2e-6)


def test_a_series_is_added_with_its_factor():
    y = torch.tensor([1.7, 3.0, 40.0])
    value, slope = value_and_slope(BINET, y)
    total, total_slope = torch.ones_like(y), torch.ones_like(y)
    OddSeries(*(torch.empty_like(y) for _ in range(3))).add(BINET, y, -2, total, total_slope)
    torch.testing.assert_close(total, 1 - 2 * value)
    torch.testing.assert_close(total_slope, 1 - 2 * slope)
