"""Masses of intervals under the normal distribution, in log space and float32, wherever they lie."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.numerics import (
    differentiable,
    langevin_ratio,
    log_uniform_decay,
    polynomial,
    select,
)

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)

# Chebyshev fit (to mpmath values, 40 digits), as a power series:
# (x + 4) M(x) in u = (x - 4) / (x + 4), relative error 4e-8 for x >= 0.
_MILLS = (
    1.89321906,
    -1.52377031,
    0.970409961,
    -0.467553127,
    0.151388556,
    -0.0188303716,
    -0.00871346073,
    0.00391983246,
    0.000324171409,
    -0.000394344188,
)

# Below this width (in standard deviations) an interval's mass is its density times a correction: the next
# term is w^4 / 1440 < 1.2e-6. Above it, a difference of tail areas keeps six digits.
_NARROW = 0.2


def mills_ratio(x: Tensor) -> Tensor:
    """Return M(x) = (1 - Phi(x)) / phi(x), the standard normal's tail area over its density, for x >= 0."""
    # A rational fit costs a tenth of torch.special.erfcx, and never underflows.
    return polynomial(_MILLS, (x - 4) / (x + 4)) / (x + 4)


def log_normal_density(x: Tensor) -> Tensor:
    """Return log phi(x), the standard normal's."""
    return -0.5 * x.square() - LOG_SQRT_2PI


def log_ndtr(x: Tensor) -> Tensor:
    """Return log Phi(x), the standard normal's log-cdf, relatively accurate in both tails, for |x| < 1e19."""
    return differentiable(_LogNdtr, x)


class _LogNdtr(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mills, log_density = mills_ratio(x.abs()), log_normal_density(x)
        ctx.save_for_backward(x, mills)
        tail = log_density.exp() * mills
        return select(x < 0, log_density + mills.log(), torch.log1p(-tail))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, mills = ctx.saved_tensors
        density = log_normal_density(x).exp()
        return grad * select(x < 0, mills.reciprocal(), density / (1 - density * mills))


def log_normal_interval(centre: Tensor, width: Tensor) -> Tensor:
    """Return log(Phi(centre + width/2) - Phi(centre - width/2)), for any centre and one width > 0.

    With a the edge nearest to 0, c = |centre|, and T a correction in [0, width^2 / 8] this is

        log(width phi(a)) + log_uniform_decay(c width) + T,     T = (width^2 / 4) L(y) / y + O(width^4),

    y = c width / 2 and L the Langevin function; T also gives both derivatives, without cancellation.

    Args:
        centre: any shape, in standard deviations from the mean, at most 1e18.
        width: 0-dimensional, in standard deviations.
    """
    return differentiable(_LogNormalInterval, centre, width)


class _LogNormalInterval(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, centre: Tensor, width: Tensor) -> Tensor:
        form = _narrow_interval if bool(width < _NARROW) else _wide_interval
        log_mass, correction = form(centre.abs(), width)
        ctx.save_for_backward(centre, width, correction)
        return log_mass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        centre, width, correction = ctx.saved_tensors
        grad = grad * torch.exp(-correction)
        if not ctx.needs_input_grad[1]:
            return -centre * grad, None
        y = 0.5 * centre * width
        y_coth_y = 1 + y * (y * langevin_ratio(y))
        return -centre * grad, (grad * y_coth_y).sum() / width


def _narrow_interval(c: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    correction = 0.25 * width.square() * langevin_ratio(0.5 * c * width)
    flat = log_normal_density(c - 0.5 * width) + width.log()
    return flat + log_uniform_decay(c * width) + correction, correction


def _wide_interval(c: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    a = c - 0.5 * width
    log_density = log_normal_density(a)
    near, far = mills_ratio(a.abs()), mills_ratio(c + 0.5 * width) * torch.exp(-c * width)
    one_side = torch.log((near - far).clamp_min(torch.finfo(c.dtype).tiny))
    both_sides = torch.log1p(-log_density.exp() * (near + far))
    log_mass = select(a < 0, both_sides, log_density + one_side)
    relative = select(a < 0, both_sides - log_density, one_side)
    return log_mass, relative - width.log() - log_uniform_decay(c * width)
