"""Formulas that lose their digits when written down as they stand, in forms that keep them in float32.

Each is named after what it computes. Those with a backward pass of their own have the exact derivative
there: differentiating the stable form would bring the cancellation back, or 0 * inf from the
branch not taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor

_LOG_2 = math.log(2)
_ONE = -20.0  # expm1 of it is -1, of less the same, but slowly
_SMALL = 0.75  # below it the Langevin function is a series

# coth(y) - 1/y = y/3 - y^3/45 + ..., the coefficients of its Taylor series in y^2 after one factor y.
_LANGEVIN = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875)


class Coefficients(NamedTuple):
    """Of the power series in 1 / y^2 of y f(y), and of y^2 f'(y)."""

    value: tuple[float, ...]
    slope: tuple[float, ...]


# Fits to values of 40 digits. J, for y >= 3/2: error 4e-7, and 4e-6 of (y - 3/2) J';
# mu, for y >= 3: error 4e-7.
STIRLING_HALF = Coefficients((-0.0416658851, 0.00239636525, -0.000527099742), (0.0416141191, -0.00628235836))
BINET = Coefficients((0.0833322191, -0.00269565488), (-0.0833322191, 0.00808696464))


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


def above(x: Tensor, threshold: float) -> Tensor:
    """Return 1 where x > threshold and 0 elsewhere, as floats: a tenth of the price of comparing."""
    return (x - threshold).sign_().clamp_min_(0)


def tiny(x: Tensor) -> float:
    """Return the smallest normal number of x's type."""
    return torch.finfo(x.dtype).tiny


def exp_(x: Tensor) -> Tensor:
    """Replace x <= 80 by exp(x), but not by less than exp(-80): on a CPU underflow costs a hundredfold."""
    return x.clamp_min_(-80).exp_()


def bounded(x: Tensor, bound: float) -> Tensor:
    """Return bound * tanh(x / bound): x near 0, and never beyond -bound .. bound."""
    # 2 sigmoid(2 x) - 1 is tanh(x), on some processors at a tenth of its price.
    return torch.sigmoid(x * (2 / bound)) * (2 * bound) - bound


def bounded_with_slope(x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Return `bounded` and its derivative; not differentiable."""
    half = torch.mul(x, 2 / bound).sigmoid_()
    return torch.mul(half, 2 * bound).sub_(bound), half.addcmul_(half, half, value=-1).mul_(4)


def side_of(x: Tensor) -> Tensor:
    """Return -1 where x < 0 and 1 elsewhere: never 0, and without a gradient."""
    return x.detach().sign().add_(0.5).sign_()  # faster than copysign


def mirrored(k: Tensor, n: float, side: Tensor) -> Tensor:
    """Return k where side is 1 and n - k where it is -1, exactly (half-integers below 2^23 are exact)."""
    return (side * (k - 0.5 * n)).add_(0.5 * n)


@torch.no_grad()
def langevin_ratio(y: Tensor) -> Tensor:
    """Return (coth(y) - 1/y) / y, the Langevin function over its argument; even in y, 1/3 at 0."""
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


def look_up(table: Tensor, k: Tensor) -> Tensor:
    """Return table[k]; index_select takes a tenth of the time of indexing."""
    return table.index_select(0, k.int().flatten()).view(k.shape)


def log_binomial_at_mode(n: int) -> Tensor:
    """Return log Binomial(k; n, k/n) for k = 0 .. n, [n+1]: log C(n, k) without its large part."""
    k = np.arange(n + 1)
    log_choose = -special.betaln(k + 1, n - k + 1) - math.log(n + 1)
    large = special.xlogy(k, k / n) + special.xlogy(n - k, (n - k) / n)
    return torch.tensor(log_choose + large, dtype=torch.float32)


class OddSeries(NamedTuple):
    """sum_i coefficients[i] y^-(2i+1), added to what there is, in three pieces of memory."""

    inverse: Tensor
    square: Tensor
    value: Tensor

    def add(
        self, coefficients: Coefficients, y: Tensor, alpha: float, to: Tensor, slope_to: Tensor | None
    ) -> None:
        """Add alpha times the series at y to `to`, and alpha times its derivative to `slope_to`."""
        torch.reciprocal(y, out=self.inverse)
        torch.mul(self.inverse, self.inverse, out=self.square)
        leading = self._monic(coefficients.value)
        to.addcmul_(self.value, self.inverse, value=alpha * leading)
        if slope_to is not None:
            leading = self._monic(coefficients.slope)
            slope_to.addcmul_(self.value, self.square, value=alpha * leading)

    def _monic(self, coefficients: Sequence[float]) -> float:
        """Put the polynomial over its leading coefficient into `value`; return that coefficient."""
        *lower, leading = coefficients
        if len(lower) == 1:
            torch.add(self.square, lower[0] / leading, out=self.value)
        else:  # x^2 + p x + q = (x + p/2)^2 + q - p^2/4
            half = lower[1] / leading / 2
            torch.add(self.square, half, out=self.value).square_().add_(lower[0] / leading - half * half)
        return leading


def stirling_half(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return J(y) = lgamma(y + 1/2) - (y log y - y) - log sqrt(2 pi) and J'(y), for y >= 3/2."""
    return _alone(STIRLING_HALF, y)


def binet(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return Binet's mu(y) = lgamma(y) - (y - 1/2) log y + y - log sqrt(2 pi) and mu'(y), for y >= 3."""
    return _alone(BINET, y)


def _alone(coefficients: Coefficients, y: Tensor) -> tuple[Tensor, Tensor]:
    found = (torch.zeros_like(y), torch.zeros_like(y))
    OddSeries(*(torch.empty_like(y) for _ in range(3))).add(coefficients, y, 1, *found)
    return found
