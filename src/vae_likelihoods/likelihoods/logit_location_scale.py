"""A location-scale family seen through the sigmoid: a flexible density on [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.bins import OPEN, Bins, LogBinMass, level_bins
from vae_likelihoods.likelihoods.laws.base import FAR
from vae_likelihoods.likelihoods.location_scale import ScaledLikelihood
from vae_likelihoods.likelihoods.pointwise import pointwise
from vae_likelihoods.likelihoods.tensors import look_up


class LogitLocationScale(ScaledLikelihood):
    """x = sigmoid(mu + s u): a bin is an interval of logits. With the normal law it is the logit-normal.

    The logit-normal is of Aitchison and Shen 1980. The density may be 0 or infinite at 0 and 1, so it is
    trained on the centres of the bins. Arguments as of `ScaledLikelihood`; s is the scale of the logit, and
    the narrowest bin is 4/K wide as logits. A normal with s = 1.6 is nearly uniform on [0, 1].
    """

    on_unit_interval = True
    edges: Tensor
    widths: Tensor

    def _add_tables(self) -> None:
        edges = torch.arange(self.levels + 1, dtype=torch.float64) / self.levels
        logits = torch.logit(edges).clamp(-OPEN, OPEN)
        widths = logits.diff().clamp_max(10)  # end bins have none
        for name, table in (("edges", logits), ("widths", widths)):
            self.register_buffer(name, table.to(torch.get_default_dtype()), persistent=False)

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        u = ((torch.logit(x) - mu) / s).clamp(-FAR, FAR)
        return self.law.log_density(u) - s.log() - x.log() - torch.log1p(-x)

    def _points(self, k: Tensor) -> Tensor:
        return self._centres(k)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        return pointwise(LogBinMass(self.law, self._bins, self.scale), outputs, k, self._shared())

    def _bins(self, k: Tensor) -> Bins:
        """Return the bins of levels k as logits."""
        bins, k = level_bins(self.levels)(k), k.int()
        lower, upper = look_up(self.edges, k), look_up(self.edges, k + 1)
        return bins._replace(lower=lower, upper=upper, width=look_up(self.widths, k))

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        u = ((math.log(edge / (1 - edge)) - mu) / s).clamp(-FAR, FAR)
        return self.law.upper_tail(u)

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self._levels_of(torch.sigmoid(mu + s * self.law.draw(mu, generator)))
