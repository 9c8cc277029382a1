"""Each formula that keeps its digits, alone, against scipy in float64 or mpmath."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from digits import assert_near, exact
from vae_likelihoods.likelihoods import numerics


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


def test_log1mexp():
    t = torch.cat([torch.logspace(-30, 1.9, 400), torch.tensor([math.log(2), 0.693, 0.6932])])
    assert_near(numerics.log1mexp(t), exact(lambda v: mpmath.log1p(-mpmath.exp(-v)), t), rtol=1e-6)


@pytest.mark.parametrize("bound", [0.5, math.log(1e4)])
def test_bounded_and_its_slope(bound: float):
    x = torch.cat([-torch.logspace(-6, 3, 60), torch.zeros(1), torch.logspace(-6, 3, 60)])
    value = numerics.bounded(x, bound)
    wide = x.double().numpy() / bound
    assert_near(value, bound * np.tanh(wide), rtol=4e-7)  # of itself: small numbers keep their digits
    assert (value.abs() <= bound).all()
    again, slope = numerics.bounded_with_slope(x, bound)
    assert torch.equal(again, value)
    assert_near(slope, np.cosh(wide.clip(-300, 300)) ** -2, rtol=0, atol=5e-7)


@pytest.mark.parametrize("n", [1, 2, 16, 255])
def test_log_binomial_at_mode(n: int):
    k = np.arange(n + 1)
    assert_near(numerics.log_binomial_at_mode(n), stats.binom.logpmf(k, n, k / n), rtol=1e-6, atol=1e-12)
