"""Formulas in forms that keep their digits in float32, where the formula as it is usually written does not.

Each function is named after what it computes. Some have a backward pass of their own with the exact
derivative: differentiating the stable form would lose digits again, or give 0 * inf from the branch that
was not taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from vae_likelihoods.likelihoods.tensors import above, differentiable

_LOG_2 = math.log(2)
_ONE = -20.0  # expm1 of it is -1 in float32; of smaller numbers it is the same, but slower
_FLAT = 40.0  # the tanh of half of it is 1 in float64
_SMALL = 0.75  # below it the Langevin function is a series

# coth(y) - 1/y = y/3 - y^3/45 + ..., the coefficients of its Taylor series in y^2 after one factor y.
_LANGEVIN = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875)


def polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return sum_i coefficients[i] x^i by Horner's rule; not differentiable."""
    value = (x * coefficients[-1]).add_(coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        value.mul_(x).add_(coefficient)
    return value


def bounded(x: Tensor, bound: float) -> Tensor:
    """Return bound * tanh(x / bound): x near 0, and never beyond -bound .. bound."""
    # expm1(-y) / (expm1(-y) + 2) is -tanh(y / 2), on some processors in half the time. A difference of
    # sigmoids is faster still, but its rounding, 1e-6 of the logarithm of a scale, shows in a log-density.
    decay = torch.expm1((x * (-2 / bound)).clamp_max(_FLAT))
    return decay / (decay + 2) * -bound


def bounded_with_slope(x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Return `bounded` and its derivative; not differentiable."""
    decay = torch.mul(x, -2 / bound).clamp_max_(_FLAT).expm1_()
    minus_tanh = decay.div_(decay + 2)
    return minus_tanh.mul(-bound), minus_tanh.square().neg_().add_(1)


@torch.no_grad()
def langevin_ratio(y: Tensor) -> Tensor:
    """Return (coth(y) - 1/y) / y, the Langevin function divided by its argument; even in y, 1/3 at 0."""
    y = y.abs()
    per_y = y.clamp_min(_SMALL).reciprocal_()
    outer = torch.expm1(2 * y.clamp(_SMALL, 40)).reciprocal_().mul_(2).add_(1).sub_(per_y).mul_(per_y)
    return polynomial(_LANGEVIN, y.clamp_max(_SMALL).square_()).lerp_(outer, above(y, _SMALL))


def log_uniform_decay(t: Tensor) -> Tensor:
    """Return log((1 - exp(-t)) / t), the log of the mean of exp(-t u) over u in [0, 1], for t >= 0."""
    return differentiable(_LogUniformDecay, t)


def log1mexp(t: Tensor) -> Tensor:
    """Return log(1 - exp(-t)), for t > 0, relatively accurate for small and for large t."""
    minus = -t
    near, far = minus.clamp_min(-_LOG_2), minus.clamp_max(-_LOG_2)
    return torch.lerp(
        (-torch.expm1(near)).log(), torch.log1p(-torch.exp(far.clamp_min(-80))), above(t.detach(), _LOG_2)
    )


class _LogUniformDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        ctx.save_for_backward(t)
        minus = t.neg().clamp_max_(-1e-30)
        return torch.expm1(minus.clamp_min(_ONE)).div_(minus).log_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (t,) = ctx.saved_tensors
        return grad * log_uniform_decay_slope(t)


@torch.no_grad()
def log_uniform_decay_slope(t: Tensor) -> Tensor:
    """Return the derivative of `log_uniform_decay`, 1 / (exp(t) - 1) - 1 / t."""
    half = 0.5 * t
    return langevin_ratio(half).mul_(half).sub_(1).mul_(0.5)


def log_binomial_at_mode(n: int) -> Tensor:
    """Return log Binomial(k; n, k/n) for k = 0 .. n, [n+1]: log C(n, k) without its large part."""
    k = np.arange(n + 1)
    log_choose = -special.betaln(k + 1, n - k + 1) - math.log(n + 1)
    large = special.xlogy(k, k / n) + special.xlogy(n - k, (n - k) / n)
    return torch.tensor(log_choose + large, dtype=torch.get_default_dtype())
