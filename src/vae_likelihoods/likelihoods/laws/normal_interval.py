"""Log-masses of intervals of the standard normal, accurate in float32 wherever the interval lies.

The specification is `Law.log_interval` of the normal law.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.laws.base import IntervalMass
from vae_likelihoods.likelihoods.tensors import above, exp_, tiny

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF, _LOG_2 = math.sqrt(0.5), math.log(2)

# An interval that is narrower than this (in standard deviations), and over which the density changes by less
# than a factor exp(0.5), gets its mass from a Taylor series around its centre, with an error below 1e-6.
_NARROW, _FLAT = 0.2, 0.5
TAIL = 5.0
"""From here on the area of the tail is a continued fraction, below it comes from erfc: the rounding of its
argument x counts x^2 times in the area."""


class NormalInterval(NamedTuple):
    """An interval [a, b] of the standard normal, reflected so that its centre c is not negative."""

    a: Tensor
    b: Tensor
    c: Tensor
    side: Tensor  # the sign of the centre before it was reflected
    width: Tensor  # 0-dimensional, or one for each interval; meaningless where an edge is open
    change: Tensor  # c width: by how much the log-density falls from a to b
    half_square: Tensor  # a^2 / 2 for a > 0 and 0 elsewhere
    narrow: Tensor | None  # 1 where the Taylor series holds, 0 elsewhere; None if it holds nowhere

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor, width: Tensor) -> NormalInterval:
        """Return the interval with these edges."""
        negative = -lower
        a, b = torch.minimum(upper, negative).neg_(), torch.maximum(upper, negative, out=negative)
        side = (lower + upper).mul_(0.5)
        c = side.abs()
        change = c * width
        half_square = a.clamp_min(0).square_().mul_(0.5)
        # On a CPU it is cheap to look whether the series is needed; a GPU would have to be waited for.
        if a.is_cpu and (width.min() > _NARROW or change.min() > _FLAT):
            return cls(a, b, c, side.sign_(), width, change, half_square, None)
        narrow = (_FLAT - change).sign_().clamp_min_(0).mul_((_NARROW - width).sign_().clamp_min_(0))
        return cls(a, b, c, side.sign_(), width, change, half_square, narrow)

    @property
    def small_squares(self) -> tuple[Tensor, Tensor]:
        """change^2 and width^2, up to the limits of the Taylor series."""
        return self.change.clamp_max(_FLAT).square_(), self.width.clamp_max(_NARROW).square_()


def log_normal_interval(lower: Tensor, upper: Tensor, width: Tensor) -> IntervalMass:
    """Return log(Phi(upper) - Phi(lower)) and its derivatives."""
    interval = NormalInterval.of(lower, upper, width)
    beyond = log_beyond(interval)
    by_position, by_width = slopes(interval, beyond)
    return IntervalMass(beyond.sub_(interval.half_square), by_position, by_width)


def log_beyond(interval: NormalInterval) -> Tensor:
    """Return log(mass) + half_square; the square of the distance to a far interval is never formed.

    Three forms: a Taylor series for narrow intervals, a difference of complementary error functions, and in
    the tails a difference of Mills ratios M = (1 - Phi) / phi, M(a) - M(b) exp(-c width).
    """
    twice = _erfc(interval.a).sub_(_erfc(interval.b))
    beyond = twice.clamp_min_(tiny(twice)).log_().add_(interval.half_square).sub_(_LOG_2)
    if not twice.is_cpu or interval.a.max() > TAIL:
        ratio = _mills(interval.a).sub_(_mills(interval.b).mul_(exp_(-interval.change)))
        tail = ratio.clamp_min_(tiny(ratio)).log_().sub_(LOG_SQRT_2PI)
        beyond.lerp_(tail, above(interval.a, TAIL))
    if interval.narrow is not None:
        beyond.lerp_(_taylor(interval), interval.narrow)
    return beyond


def _taylor(interval: NormalInterval) -> Tensor:
    """Return `log_beyond` as a series around the centre, up to change^6 and width^2."""
    square, w2 = interval.small_squares
    series = (square * (1 / 181440)).sub_(1 / 2880).mul_(square).add_(1 / 24)
    series.sub_(w2, alpha=1 / 720).mul_(square)
    # c^2 - a^2 = near (2 c - near); a^2 counts only where a > 0.
    near = torch.minimum(interval.c, 0.5 * interval.width)
    series.addcmul_(near, interval.c, value=-1).add_(near.square_(), alpha=0.5)
    return series.add_(interval.width.log()).sub_(w2, alpha=1 / 24).sub_(LOG_SQRT_2PI)


def slopes(interval: NormalInterval, beyond: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the log-mass by position and by width, given the result of `log_beyond`."""
    a, b = interval.a, interval.b
    at_a = exp_(a.clamp_max(0).square_().mul_(-0.5).sub_(beyond).sub_(LOG_SQRT_2PI))  # phi(a) / mass
    # (b^2 - a^2) / 2; a^2 counts only where a > 0.
    at_b = b.square().mul_(0.5).lerp_(interval.change, above(a, 0)).add_(beyond).add_(LOG_SQRT_2PI)
    at_b = exp_(at_b.neg_())
    by_position, by_width = at_b - at_a, at_a.add_(at_b).mul_(0.5)
    if interval.narrow is not None:
        by_centre, by_own_width = _taylor_slopes(interval)
        by_position.lerp_(by_centre, interval.narrow)
        by_width.lerp_(by_own_width, interval.narrow)
    return by_position.mul_(interval.side), by_width


def _taylor_slopes(interval: NormalInterval) -> tuple[Tensor, Tensor]:
    """Return the derivatives of `_taylor` by c and by width, without those of half_square."""
    square, w2 = interval.small_squares
    by_centre = _curvature(square, w2).sub_(1).mul_(interval.c)
    by_width = _terms(square).sub_(w2, alpha=1 / 180).mul_(square).sub_(w2, alpha=1 / 12).add_(1)
    return by_centre, by_width.div_(interval.width)


def _curvature(square: Tensor, w2: Tensor) -> Tensor:
    """Return by how much the derivative of the log-mass by c is less than c below 0, as a share of c."""
    return _terms(square).sub_(w2, alpha=1 / 360).mul_(w2)


def _terms(square: Tensor) -> Tensor:
    return (square * (1 / 30240)).sub_(1 / 720).mul_(square).add_(1 / 12)


def tail_slopes(interval: NormalInterval) -> tuple[Tensor, Tensor]:
    """Return the derivatives of `log_beyond` by a, the width kept, and by the width, a kept, for a > `TAIL`.

    The derivative of the log-mass by a is smaller by a itself, in whose rounding this one is lost. So a
    difference of two intervals needs it apart: (M(a) - M(b) exp(-c width))' with M' = x M - 1.
    """
    decay, (rest_a, mills_a), (rest_b, mills_b) = exp_(-interval.change), _tail(interval.a), _tail(interval.b)
    ratio = torch.addcmul(mills_a, mills_b, decay, value=-1).clamp_min_(1e-20)
    by_edge = mills_b.mul_(rest_b.add_(interval.width)).mul_(decay).addcmul_(mills_a, rest_a, value=-1)
    by_edge, by_width = by_edge.div_(ratio), decay.div_(ratio)
    if interval.narrow is not None:
        by_centre, by_own_width = _taylor_slopes(interval)
        curved = _curvature(*interval.small_squares).mul_(interval.c)
        by_edge.lerp_(curved.sub_(0.5 * interval.width), interval.narrow)
        by_width.lerp_(by_own_width.add_(by_centre, alpha=0.5), interval.narrow)
    return by_edge, by_width


def _erfc(x: Tensor) -> Tensor:
    """Return 2 (1 - Phi(x)) where it is above 1e-36; below, erfc would cost twentyfold and is not needed."""
    return (x * _SQRT_HALF).clamp_max_(9).erfc_()


def _mills(x: Tensor) -> Tensor:
    """Return M(x) = (1 - Phi(x)) / phi(x) for x >= 5, to 1e-6."""
    return _tail(x)[1]


def _tail(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = 1/(x + 2/(x + .. 5/x)) and M(x) = 1/(x + r) for x >= 5; then 1 - x M is r M."""
    x = x.clamp_min(0.5 * TAIL)
    rest = x.reciprocal()
    for numerator in (5, 4, 3, 2):
        rest.mul_(numerator).add_(x).reciprocal_()
    return rest, (rest + x).reciprocal_()
