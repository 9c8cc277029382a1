"""The share that an interval has of the mass of [0, 1], under a law with a mean and a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.laws.base import FAR, Law
from vae_likelihoods.likelihoods.pointwise import Values
from vae_likelihoods.likelihoods.scales import Scale
from vae_likelihoods.likelihoods.tensors import above
from vae_likelihoods.precision import precise

FARTHEST = 1e3  # a mean farther from 0 than this, in ranges, stays there: float32 has no digits for more


class Placed(NamedTuple):
    """The log-mass of an interval under mu + s u, with its derivatives, in float64."""

    log_mass: Tensor
    by_mean: Tensor
    by_log_scale: Tensor


@dataclass(frozen=True)
class LogShare:
    """log(mass(interval) / mass([0, 1])) under mu + s u, u from `law` (a `pointwise.Formula`).

    Where mu is far outside both masses are tiny, so their logs are subtracted in float64.
    """

    law: Law
    scale: Scale
    levels: int
    length: float  # of the interval, in bins

    def __call__(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, start: Tensor
    ) -> Values:
        """Return the log-share, and its derivatives by mean and by the scale's number; `start` is in bins."""
        output, *raw = numbers
        scale, by_raw = self.scale.with_slope(raw) if shared is None else (shared, None)
        mean, low = precise(output).clamp(-FARTHEST, FARTHEST), precise(start)
        precise_scale = precise(scale)
        part = self._placed(mean, precise_scale, low / self.levels, (low + self.length) / self.levels)
        whole = self._placed(mean, precise_scale, torch.zeros_like(mean), torch.ones_like(mean))
        log_share, by_mean, by_log_scale = (
            (of_part - of_whole).to(output) for of_part, of_whole in zip(part, whole, strict=True)
        )
        if not with_slopes:
            return Values(log_share)
        by_mean.mul_(1 - above(output.abs(), FARTHEST))
        by_scale = by_log_scale.div_(scale)
        if by_raw is None:
            return Values(log_share, [by_mean], by_scale)
        return Values(log_share, [by_mean, by_scale.mul_(by_raw)])

    def _placed(self, mean: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Placed:
        lower, upper = (((edge - mean) / scale).clamp(-FAR, FAR) for edge in (low, high))
        width = (high - low) / scale
        interval = self.law.log_interval(lower, upper, width, torch.ones_like(lower))
        by_log_scale = -(0.5 * (lower + upper) * interval.by_position + width * interval.by_width)
        return Placed(interval.log_mass, -interval.by_position / scale, by_log_scale)
