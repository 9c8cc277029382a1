"""Kumaraswamy: a density on [0, 1] with the shapes of a beta and a cdf in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import DensityLikelihood, TrainedOn
from vae_likelihoods.likelihoods.numerics import bounded, bounded_with_slope, log1mexp, log_uniform_decay
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.tensors import above, exp_, look_up, uniform_like

_BOUND = math.log(1e4)
_LOG_2 = math.log(2)
_TALL = 80.0  # exp(-80) is nothing beside 1
_FAR = 1e30  # stands for -log 0, where exp(-a _FAR) is 0 for every a


class Kumaraswamy(DensityLikelihood):
    """P(x <= t) = 1 - (1 - t^a)^b (Kumaraswamy 1980); the outputs are log a and log b, bounded by log 1e4.

    Outputs of 0 are the uniform density. The density may be singular at 0 and 1, so it is trained on the
    centres of the bins.

    Args:
        levels: K.
        channels: C.
        trained_on: ``density`` or ``mass``.
    """

    outputs_per_channel = 2
    on_unit_interval = True
    depths: Tensor
    steps: Tensor

    def __init__(self, levels: int, channels: int, trained_on: TrainedOn = "mass") -> None:
        super().__init__(levels, channels, trained_on)
        depths = -torch.log(torch.arange(levels + 1, dtype=torch.float64) / levels).clamp(-_FAR, 0)
        # -log e_j, and log(e_(j+1) / e_j)
        for name, table in (("depths", depths), ("steps", -depths.diff())):
            self.register_buffer(name, table.to(torch.get_default_dtype()), persistent=False)

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        log_a, log_b = self._log_shape(outputs)
        depth = -x.log()
        one_less_power = log1mexp(log_a.exp() * depth)
        return log_a + log_b - (log_a.exp() - 1) * depth + (log_b.exp() - 1) * one_less_power

    def _points(self, k: Tensor) -> Tensor:
        return self._centres(k)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        return pointwise(self._log_bin, outputs, k)

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        log_a, log_b = self._log_shape(outputs)
        return (log_b.exp() * log1mexp(-log_a.exp() * math.log(edge))).exp()

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        log_a, log_b = self._log_shape(outputs)
        survival = torch.log1p(-uniform_like(log_a, generator)) / log_b.exp()
        return self._levels_of((log1mexp(-survival) / log_a.exp()).exp())

    def _log_shape(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        raw_a, raw_b = outputs.unbind(-4)
        return bounded(raw_a, _BOUND), bounded(raw_b, _BOUND)

    def _log_bin(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        """Return b log S_k + log(1 - (S_(k+1) / S_k)^b), S_j = 1 - e_j^a (a `pointwise.Formula`).

        `plain_log_mass` is its specification.
        """
        (log_a, a_slope), (log_b, b_slope) = (bounded_with_slope(number, _BOUND) for number in numbers)
        inner, k = (self.levels - 1 - k.to(log_a.dtype)).clamp_max_(1), k.int()
        near, far, step = look_up(self.depths, k + 1), look_up(self.depths, k), look_up(self.steps, k)
        a, b = log_a.exp(), log_b.exp()
        survival, depth, rise = log1mexp(a * far), a * near, (a * step).clamp_max_(_TALL)
        grown = torch.expm1(rise)
        # The share of S_k that lies in the bin: S_(k+1) / S_k = 1 - share.
        log_share = grown.log().sub_(rise).sub_(depth).sub_(survival)
        share = exp_(log_share.clamp_max(-_LOG_2))
        per_share = torch.log1p(-share).div_(share).neg_()
        log_drop = per_share.log().add_(log_share)  # the log of log S_k - log S_(k+1)
        before, after = _over_expm1(a * far), _over_expm1(depth)
        growth = (
            rise.div_(grown).sub_(depth).sub_(before).div_(per_share.mul_(1 - share))
        )  # of log_drop by log a
        large = above(log_share, -_LOG_2).mul_(inner)  # all that is left lies in the last bin
        # On a CPU it is cheap to look whether this form is needed; a GPU would have to be waited for.
        if not large.is_cpu or large.max() > 0:
            next_survival = log1mexp(torch.lerp(torch.ones_like(depth), depth, large))
            drop = (survival - next_survival).clamp_min_(0.1)
            log_drop.lerp_(drop.log(), large)
            growth.lerp_((before - after).div_(drop), large)
        log_hazard = log_b + log_drop
        hazard = exp_(log_hazard.clone())
        all_before = b * survival
        log_mass = (log_hazard + log_uniform_decay(hazard)).mul_(inner).add_(all_before)
        if not with_slopes:
            return Values(log_mass)
        weight = _over_expm1(hazard).mul_(inner)
        by_a = growth.mul_(weight).addcmul_(b, before).mul_(a_slope)
        return Values(log_mass, [by_a, weight.add_(all_before).mul_(b_slope)])


def plain_log_mass(levels: int, log_a: Tensor, log_b: Tensor, k: Tensor) -> Tensor:
    """Return log((1 - low^a)^b - (1 - high^a)^b) for the bin [low, high] of level k: a difference of cdfs.

    It is differentiable by log a and log b. In float64 it has digits unless both parts are nearly equal.
    """
    before, after = (
        torch.exp(log_b.exp() * torch.log1p(-((edge / levels) ** log_a.exp())))
        for edge in (k, (k + 1).clamp_max(levels - 1))
    )
    return torch.log(before - after * (k + 1 < levels))


def _over_expm1(t: Tensor) -> Tensor:
    """Return t / (exp(t) - 1), for t > 0."""
    t = t.clamp(1e-30, _TALL)
    return t / torch.expm1(t)
