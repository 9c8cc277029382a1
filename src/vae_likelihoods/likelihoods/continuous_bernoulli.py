"""Continuous Bernoulli: cross-entropy on [0, 1] with the normaliser that makes it a density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import DensityLikelihood
from vae_likelihoods.likelihoods.numerics import (
    langevin_ratio,
    log_uniform_decay,
    log_uniform_decay_slope,
)
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.tensors import mirrored, side_of, uniform_like


class ContinuousBernoulli(DensityLikelihood):
    """p(x) proportional to exp(eta x) on [0, 1], eta the logit of lambda (Loaiza-Ganem and Cunningham, 2019).

    With t = |eta|, and d the distance from the end where the density is larger, it is exp(-t d) / D(t) with
    D(t) = (1 - exp(-t)) / t. The mass of the bin that is j bins away from that end is exactly
    exp(-t j / K) D(t/K) / (K D(t)): a truncated geometric pmf.

    Args:
        levels: K.
        channels: C.
        trained_on: ``density`` or ``mass``.
    """

    on_unit_interval = True

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        side = side_of(eta)
        t = eta * side
        return -t * (0.5 - side * (x - 0.5)) - log_uniform_decay(t)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        return pointwise(partial(_log_mass, self.levels), outputs, k)

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        (eta,) = outputs.unbind(-4)
        return (1 - edge) * torch.exp(log_uniform_decay((edge - 1) * eta) - log_uniform_decay(-eta))

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1), the derivative of the truncated geometric pmf's log-normaliser."""
        (eta,) = self._parameters_of(outputs).unbind(-4)
        half, levels = 0.5 * eta, self.levels
        shift = 0.5 * half * (levels * langevin_ratio(half) - langevin_ratio(half / levels) / levels)
        return (0.5 + shift / (levels - 1)).clamp(0, 1)

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        (eta,) = outputs.unbind(-4)
        t = eta.abs().clamp_min(1e-30)
        distance = -torch.log1p(uniform_like(t, generator) * torch.expm1(-t)) / t
        from_end = self._levels_of(distance)
        return torch.where(eta < 0, from_end, self.levels - 1 - from_end)


def _log_mass(
    levels: int, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
) -> Values:
    """Return the truncated geometric log-pmf and its derivative by eta (a `pointwise.Formula`)."""
    (eta,) = numbers
    side, t = side_of(eta), eta.abs()
    step, from_end = t / levels, mirrored(k.to(eta.dtype), levels - 1, -side)
    log_mass = log_uniform_decay(step).sub_(log_uniform_decay(t)).sub_(step * from_end).sub_(math.log(levels))
    if not with_slopes:
        return Values(log_mass)
    by_t = log_uniform_decay_slope(step).sub_(from_end).div_(levels).sub_(log_uniform_decay_slope(t))
    return Values(log_mass, [by_t.mul_(side)])
