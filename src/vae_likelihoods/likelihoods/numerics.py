"""Formulas that lose their digits when written down as they stand, in forms that keep them in float32.

Each is named after what it computes. Those with a backward pass of their own have the exact derivative
there: differentiating the stable form would bring the cancellation back, or 0 * inf from the
branch not taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

# coth(y) - 1/y = y/3 - y^3/45 + ..., the coefficients of its Taylor series in y^2 after one factor y.
_LANGEVIN = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875)

# Chebyshev fits (to mpmath values, 40 digits), as power series.
# J(x) / t in t = 1 / (x + 1/2), error of J 6e-9 for x >= 0.
_STIRLING_HALF = (
    -0.0416666751,
    9.23320196e-07,
    0.00241358425,
    0.000122732056,
    -0.00122103576,
    0.000923819039,
    -0.000365621797,
    7.87935309e-05,
    -7.28614584e-06,
)
# mu(x) / t in t = 1 / x, error of mu 3e-9 for x >= 1.
_BINET = (
    0.0833333342,
    -1.82239557e-07,
    -0.00277252458,
    -5.34345939e-05,
    0.00104963809,
    -0.000633678723,
    0.000138317742,
)


def differentiable(function: Any, *inputs: Any) -> Tensor:
    """Apply a `torch.autograd.Function`, whose own `apply` is untyped."""
    result: Tensor = function.apply(*inputs)
    return result


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return sum_i coefficients[i] x^i by Horner's rule, in place on its own result: not differentiable."""
    value = (x * coefficients[-1]).add_(coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        value.mul_(x).add_(coefficient)
    return value


def select(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return torch.where(condition, yes, no) for finite values; faster where conditions alternate."""
    return torch.lerp(no, yes, condition.to(no.dtype))


def side_of(x: Tensor) -> Tensor:
    """Return 1 or -1, the sign bit of x: never 0, and without a gradient."""
    return torch.copysign(torch.ones_like(x), x.detach())


def mirrored(k: Tensor, n: int, side: Tensor) -> Tensor:
    """Return k where side is 1 and n - k where it is -1, exactly (half-integers below 2^23 are exact)."""
    return 0.5 * n + side * (k - 0.5 * n)


@torch.no_grad()
def langevin_ratio(y: Tensor) -> Tensor:
    """Return (coth(y) - 1/y) / y, the Langevin function over its argument; even in y, 1/3 at 0."""
    y = y.abs()
    outer = y.clamp_min(0.75)
    series = polynomial(_LANGEVIN, y.clamp_max(0.75).square())
    return select(y < 0.75, series, (1 + 2 / torch.expm1(2 * outer) - 1 / outer) / outer)


def log_uniform_decay(t: Tensor) -> Tensor:
    """Return log((1 - exp(-t)) / t), the log of the mean of exp(-t u) over u in [0, 1], for t >= 0."""
    return differentiable(_LogUniformDecay, t)


class _LogUniformDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        ctx.save_for_backward(t)
        t = t.clamp_min(1e-30)
        return torch.log(-torch.expm1(-t) / t)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (t,) = ctx.saved_tensors
        half: Tensor = 0.5 * t
        return grad * (0.5 * (half * langevin_ratio(half) - 1))


def look_up(table: Tensor, k: Tensor) -> Tensor:
    """Return table[k]; index_select takes a tenth of the time of indexing."""
    return table.index_select(0, k.long().flatten()).view(k.shape)


def log_binomial_at_mode(n: int) -> Tensor:
    """Return log Binomial(k; n, k/n) for k = 0 .. n, [n+1]: log C(n, k) without its large part."""
    k = np.arange(n + 1)
    log_choose = -special.betaln(k + 1, n - k + 1) - math.log(n + 1)
    large = special.xlogy(k, k / n) + special.xlogy(n - k, (n - k) / n)
    return torch.tensor(log_choose + large, dtype=torch.float32)


def stirling_half(x: Tensor) -> Tensor:
    """Return J(x) = lgamma(x+1) - (y log y - y) - log sqrt(2 pi) with y = x + 1/2, for x >= 0."""
    return _in_reciprocal(_STIRLING_HALF, x + 0.5)


def stirling_half_slope(x: Tensor) -> Tensor:
    """Return J'(x)."""
    return _slope_in_reciprocal(_STIRLING_HALF, x + 0.5)


def binet(x: Tensor) -> Tensor:
    """Return Binet's mu(x) = lgamma(x) - (x - 1/2) log x + x - log sqrt(2 pi), for x >= 1."""
    return _in_reciprocal(_BINET, x)


def binet_slope(x: Tensor) -> Tensor:
    """Return mu'(x)."""
    return _slope_in_reciprocal(_BINET, x)


def _in_reciprocal(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return sum_i coefficients[i] x^-(i+1)."""
    t = x.reciprocal()
    return polynomial(coefficients, t).mul_(t)


def _slope_in_reciprocal(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return the derivative of `_in_reciprocal`."""
    t = x.reciprocal()
    slope = [-(i + 1) * coefficient for i, coefficient in enumerate(coefficients)]
    return polynomial(slope, t).mul_(t).mul_(t)
