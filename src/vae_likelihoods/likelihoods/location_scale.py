"""Families mu + s u on the line: a law for u, a mean from the decoder, and a scale."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import DensityLikelihood
from vae_likelihoods.likelihoods.bins import FAR, LogBinMass, Slopes, level_bins
from vae_likelihoods.likelihoods.pointwise import pointwise
from vae_likelihoods.likelihoods.scales import Scale


class ScaledLikelihood(DensityLikelihood):
    """A family whose first output is a mean (of x, or of what x is made of) and which has a scale.

    A subclass calls `_take` with its scale when it is built.
    """

    scale_name = "scale"
    scale: Scale

    def _take(self, scale: Scale) -> None:
        self.scale, self.outputs_per_channel = scale, 1 + scale.outputs

    def _mean_and_scale(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, *raw = outputs.unbind(-4)
        return mean, self.scale.of(raw)

    def _shared(self) -> Tensor | None:
        """Return the scale if all pixels share it."""
        return None if self.scale.outputs else self.scale.of(())

    def summary(self) -> dict[str, float]:
        """Return the learned scale, if all pixels share one."""
        return self.scale.summary(self.scale_name)


class LocationScale(ScaledLikelihood):
    """x = mu + s u, u from a standard law that is symmetric about 0, its tails censored into the end bins.

    mu is the decoder's first output; s is fixed, shared or the second one (`scales`). A family says the
    law of u: its log-density, the log-mass of an interval, its tail, and how to draw it.
    """

    @abstractmethod
    def _log_law(self, u: Tensor) -> Tensor:
        """Return the log-density of u."""

    @abstractmethod
    def _law(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> Slopes:
        """Return the log-mass of intervals of u with its derivatives, as `bins.Law` says."""

    @abstractmethod
    def _upper_tail(self, u: Tensor) -> Tensor:
        """Return P(law > u)."""

    @abstractmethod
    def _noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw u in the shape of `like`."""

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self._log_law(((x - mu) / s).clamp(-FAR, FAR)) - s.log()

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        formula = LogBinMass(self._law, level_bins(self.levels), self.scale)
        return pointwise(formula, outputs, k, self._shared())

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self._upper_tail(((edge - mu) / s).clamp(-FAR, FAR))

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self._levels_of(mu + s * self._noise(mu, generator))
