"""A location-scale family that lives on [0, 1]: its tails are cut off instead of censored."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.location_scale import ScaledLikelihood
from vae_likelihoods.likelihoods.normal_share import NormalLogShare
from vae_likelihoods.likelihoods.pointwise import pointwise
from vae_likelihoods.likelihoods.share import LogShare


class Truncated(ScaledLikelihood):
    """p(x) = p((x - mu) / s) / (s Z) on [0, 1], Z the mass of [0, 1] under mu + s u.

    The mean of the pmf is not mu. With the normal law and mu far below 0 it is an exponential slope, as in
    `continuous_bernoulli`. Arguments as of `ScaledLikelihood`.
    """

    on_unit_interval = True

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        # The mass of an interval so short that the density is nearly constant in it, over its length.
        short = 1e-3
        start = (x * self.levels - 0.5 * short).clamp(0, self.levels - short)
        return self._log_share(outputs, start, short) + math.log(self.levels / short)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        return self._log_share(outputs, k, 1.0)

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        start = outputs.new_full((1, 1, 1), edge * self.levels)
        return self._log_share(outputs, start, (1 - edge) * self.levels).clamp_min(-80).exp()

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1) of the pmf over its sum, which rounding leaves a few 1e-6 from 1."""
        parameters = self._parameters_of(outputs)
        total = torch.zeros_like(parameters[..., 0, :, :, :])
        expected = torch.zeros_like(total)
        for level in range(self.levels):
            mass = self._mass(parameters, level)
            total, expected = total + mass, expected + level * mass
        return (expected / total / (self.levels - 1)).clamp(0, 1)

    def _log_share(self, outputs: Tensor, start: Tensor, length: float) -> Tensor:
        """Return the log of the share of [0, 1] that an interval has; start and length in bins."""
        formula = NormalLogShare if isinstance(self.law, Normal) else LogShare
        return pointwise(formula(self.law, self.scale, self.levels, length), outputs, start, self._shared())
