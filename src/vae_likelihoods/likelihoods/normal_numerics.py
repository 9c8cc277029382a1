"""Masses of intervals under the normal distribution, in log space and float32, wherever they lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.bins import Slopes
from vae_likelihoods.likelihoods.numerics import above, exp_, tiny

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF, _LOG_2 = math.sqrt(0.5), math.log(2)

# Narrower than this (in standard deviations), and with a density that changes less than by exp(0.5), an
# interval's mass is a Taylor series around its centre: the next terms are below 1e-6.
_NARROW, _FLAT = 0.2, 0.5
# From here on the tail area is a continued fraction, below it is erfc's.
_TAIL = 9.0


def log_normal_density(x: Tensor) -> Tensor:
    """Return log phi(x), the standard normal's."""
    return -0.5 * x.square() - LOG_SQRT_2PI


class NormalInterval(NamedTuple):
    """An interval [a, b] of the standard normal, reflected so that its centre c is not negative."""

    a: Tensor
    b: Tensor
    c: Tensor
    side: Tensor  # the sign of the centre before
    width: Tensor  # 0-dimensional, or one for each interval; of no meaning where an edge is infinite
    change: Tensor  # c width: by how much the log-density falls from a to b
    half_square: Tensor  # a^2 / 2 for a > 0 and 0 elsewhere
    narrow: Tensor | None  # 1 where the Taylor series holds, 0 elsewhere; None if it does nowhere

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor, width: Tensor) -> NormalInterval:
        """Return the interval with these edges."""
        negative = -lower
        a, b = torch.minimum(upper, negative).neg_(), torch.maximum(upper, negative, out=negative)
        side = (lower + upper).mul_(0.5)
        c = side.abs()
        change = c * width
        half_square = a.clamp_min(0).square_().mul_(0.5)
        # Looking whether a form is needed is cheap, but a GPU would have to be waited for.
        if a.is_cpu and (width.min() > _NARROW or change.min() > _FLAT):
            return cls(a, b, c, side.sign_(), width, change, half_square, None)
        narrow = (_FLAT - change).sign_().clamp_min_(0).mul_((_NARROW - width).sign_().clamp_min_(0))
        return cls(a, b, c, side.sign_(), width, change, half_square, narrow)

    @property
    def small_squares(self) -> tuple[Tensor, Tensor]:
        """change^2 and width^2, as far as the Taylor series holds."""
        return self.change.clamp_max(_FLAT).square_(), self.width.clamp_max(_NARROW).square_()


def log_normal_bin(lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> Slopes:
    """Return log(Phi(upper) - Phi(lower)) and its derivatives (a `bins.Law`)."""
    where = NormalInterval.of(lower, upper, width)
    beyond = log_beyond(where)
    by_position, by_width = slopes(where, beyond)
    return Slopes(beyond.sub_(where.half_square), by_position, by_width)


def log_beyond(where: NormalInterval) -> Tensor:
    """Return log(mass) + half_square, in which the square of a far interval is never formed.

    Three forms: a Taylor series for narrow intervals, a difference of complementary error functions, and in
    the tails one of Mills ratios M = (1 - Phi) / phi, M(a) - M(b) exp(-c width).
    """
    twice = _erfc(where.a).sub_(_erfc(where.b))
    beyond = twice.clamp_min_(tiny(twice)).log_().add_(where.half_square).sub_(_LOG_2)
    if not twice.is_cpu or where.a.max() > _TAIL:
        ratio = _mills(where.a).sub_(_mills(where.b).mul_(exp_(-where.change)))
        tail = ratio.clamp_min_(tiny(ratio)).log_().sub_(LOG_SQRT_2PI)
        beyond.lerp_(tail, above(where.a, _TAIL))
    if where.narrow is not None:
        beyond.lerp_(_taylor(where), where.narrow)
    return beyond


def _taylor(where: NormalInterval) -> Tensor:
    """Return `log_beyond` as a series around the centre, to change^6 and width^2."""
    square, w2 = where.small_squares
    series = (square * (1 / 181440)).sub_(1 / 2880).mul_(square).add_(1 / 24)
    series.sub_(w2, alpha=1 / 720).mul_(square)
    near = torch.minimum(where.c, 0.5 * where.width)  # c^2 - a^2 = near (2 c - near), a^2 only where a > 0
    series.addcmul_(near, where.c, value=-1).add_(near.square_(), alpha=0.5)
    return series.add_(where.width.log()).sub_(w2, alpha=1 / 24).sub_(LOG_SQRT_2PI)


def slopes(where: NormalInterval, beyond: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the log-mass by position and by width, from what `log_beyond` returned."""
    a, b = where.a, where.b
    at_a = exp_(a.clamp_max(0).square_().mul_(-0.5).sub_(beyond).sub_(LOG_SQRT_2PI))  # phi(a) / mass
    # (b^2 - a^2) / 2, a^2 only where a > 0
    at_b = b.square().mul_(0.5).lerp_(where.change, above(a, 0)).add_(beyond).add_(LOG_SQRT_2PI)
    at_b = exp_(at_b.neg_())
    by_position, by_width = at_b - at_a, at_a.add_(at_b).mul_(0.5)
    if where.narrow is not None:
        bend, stretch = _taylor_slopes(where)
        by_position.lerp_(bend, where.narrow)
        by_width.lerp_(stretch, where.narrow)
    return by_position.mul_(where.side), by_width


def _taylor_slopes(where: NormalInterval) -> tuple[Tensor, Tensor]:
    """Return the derivatives of `_taylor`, less those of half_square, by c and by width."""
    square, w2 = where.small_squares
    terms = (square * (1 / 30240)).sub_(1 / 720).mul_(square).add_(1 / 12)
    bend = torch.sub(terms, w2, alpha=1 / 360).mul_(w2).sub_(1).mul_(where.c)
    stretch = terms.sub_(w2, alpha=1 / 180).mul_(square).sub_(w2, alpha=1 / 12).add_(1)
    return bend, stretch.div_(where.width)


def _erfc(x: Tensor) -> Tensor:
    """Return 2 (1 - Phi(x)), where it is above 1e-36: beyond it would cost twentyfold, and is not needed."""
    return (x * _SQRT_HALF).clamp_max_(9).erfc_()


def _mills(x: Tensor) -> Tensor:
    """Return M(x) = (1 - Phi(x)) / phi(x) for x >= 9, to 1e-6: 1/(x + 1/(x + 2/(x + 3/x)))."""
    x = x.clamp_min(0.5 * _TAIL)
    third = x.reciprocal().mul_(3).add_(x).reciprocal_().mul_(2).add_(x)
    return third.reciprocal_().add_(x).reciprocal_()
