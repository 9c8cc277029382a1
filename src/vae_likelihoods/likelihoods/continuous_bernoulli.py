"""Continuous Bernoulli: cross-entropy on [0, 1] with the normaliser that makes it a density."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import DensityLikelihood, uniform_like
from vae_likelihoods.likelihoods.numerics import langevin_ratio, log_uniform_decay, mirrored, side_of


class ContinuousBernoulli(DensityLikelihood):
    """p(x) proportional to exp(eta x) on [0, 1], eta the logit of lambda (Loaiza-Ganem and Cunningham, 2019).

    Falling from its larger end with t = |eta| and d the distance to that end, it is exp(-t d) / D(t) with
    D(t) = (1 - exp(-t)) / t, and the mass of the bin j bins away from that end is exactly
    exp(-t j / K) D(t/K) / (K D(t)): a truncated geometric pmf.

    Args:
        levels: K.
        channels: C.
        trained_on: ``density`` or ``mass``.
    """

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        side = side_of(eta)
        t = eta * side
        return -t * (0.5 - side * (x - 0.5)) - log_uniform_decay(t)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        side = side_of(eta)
        t = eta * side  # not abs(), whose derivative at 0, where training starts, is 0
        step, from_end = t / self.levels, mirrored(k.float(), self.levels - 1, -side)
        return log_uniform_decay(step) - log_uniform_decay(t) - step * from_end - math.log(self.levels)

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
        from_end = (distance * self.levels).floor().clamp(0, self.levels - 1)
        return torch.where(eta < 0, from_end, self.levels - 1 - from_end)
