"""The mass of the bins of levels under a law with a mean and a scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor

from vae_likelihoods.likelihoods.laws.base import FAR, Law
from vae_likelihoods.likelihoods.pointwise import Values
from vae_likelihoods.likelihoods.scales import Scale

OPEN = 1e30  # stands for the outer edge of an end bin


class Bins(NamedTuple):
    """The intervals of levels, for a variable with a mean and a scale; all broadcast together."""

    lower: Tensor  # edges; neighbours share theirs to the last bit, so that sharp pmfs sum to 1
    upper: Tensor
    width: Tensor  # upper - lower with all its digits; meaningless in end bins
    inner: Tensor  # 1, or 0 for the two end bins
    first: Tensor  # 1 for the first bin, or 0


def level_bins(levels: int) -> Callable[[Tensor], Bins]:
    """Return the function from levels k to their bins [k/K, (k+1)/K], the end bins open."""
    return partial(_level_bins, levels)


def _level_bins(levels: int, k: Tensor) -> Bins:
    first, last = (1 - k).clamp_min_(0), (k - (levels - 2)).clamp_min_(0)
    lower, upper = (k * (1 / levels)).sub_(first, alpha=OPEN), (k + 1).mul_(1 / levels).add_(last, alpha=OPEN)
    return Bins(lower, upper, k.new_full((), 1 / levels), (1 - first).sub_(last), first)


@dataclass(frozen=True)
class LogBinMass:
    """The log-mass of the bins of levels under mean + scale u, u from `law` (a `pointwise.Formula`)."""

    law: Law
    bins_of: Callable[[Tensor], Bins]  # from levels, as floats
    scale: Scale

    def __call__(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        """Return the log-mass, and its derivatives by mean and by the scale's number."""
        (mean, *raw), bins = numbers, self.bins_of(k.to(numbers[0].dtype))
        scale, by_raw = self.scale.with_slope(raw) if shared is None else (shared, None)
        per_scale = scale.reciprocal()
        lower = (bins.lower - mean).mul_(per_scale).clamp_(-FAR, FAR)
        upper = (bins.upper - mean).mul_(per_scale).clamp_(-FAR, FAR)
        width = per_scale * bins.width
        interval = self.law.log_interval(lower, upper, width, bins.inner)
        if not with_slopes:
            return Values(interval.log_mass)
        by_mean = interval.by_position.mul_(per_scale).neg_()
        # Both edges move with 1/scale; of an end bin only the inner edge counts.
        place = lower.lerp_(upper, bins.inner.mul(0.5).add_(bins.first))
        by_scale = interval.by_width.mul_(bins.inner).mul_(width * -per_scale).addcmul_(place, by_mean)
        if by_raw is None:
            return Values(interval.log_mass, [by_mean], by_scale)
        return Values(interval.log_mass, [by_mean, by_scale.mul_(by_raw)])
