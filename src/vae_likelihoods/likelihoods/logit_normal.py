"""Logit-normal: a Gaussian seen through the sigmoid, a flexible density on [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import TrainedOn
from vae_likelihoods.likelihoods.bins import FAR, Bins, LogBinMass, level_bins
from vae_likelihoods.likelihoods.location_scale import ScaledLikelihood
from vae_likelihoods.likelihoods.normal_numerics import log_normal_bin, log_normal_density
from vae_likelihoods.likelihoods.numerics import look_up
from vae_likelihoods.likelihoods.pointwise import pointwise
from vae_likelihoods.likelihoods.scales import learned_scale


class LogitNormal(ScaledLikelihood):
    """x = sigmoid(mu + sigma u), u standard normal (Aitchison and Shen 1980): bins are intervals of logits.

    The density vanishes at 0 and 1, so it is trained on the centres of the bins.

    Args:
        levels: K.
        channels: C.
        sigma: where training of the scale of the logit starts; 1.6 is nearly uniform on [0, 1].
        min_sigma: lower bound in 1/K; the narrowest bin is 4/K wide as logits.
        per_pixel: True, the scale is a second output a pixel; False, all pixels share one.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: min_sigma is not positive, or sigma not above it.
    """

    scale_name = "sigma"
    on_unit_interval = True
    edges: Tensor
    widths: Tensor

    def __init__(
        self,
        levels: int,
        channels: int,
        sigma: float = 1.6,
        min_sigma: float = 0.25,
        per_pixel: bool = True,
        trained_on: TrainedOn = "mass",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        self._take(learned_scale(per_pixel, "sigma", sigma, min_sigma, levels))
        logits = torch.logit(torch.arange(levels + 1, dtype=torch.float64) / levels).clamp(-FAR, FAR)
        self.register_buffer("edges", logits.float(), persistent=False)
        self.register_buffer(
            "widths", logits.diff().clamp_max(10).float(), persistent=False
        )  # ends have none

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        mu, sigma = self._mean_and_scale(outputs)
        u = ((torch.logit(x) - mu) / sigma).clamp(-FAR, FAR)
        return log_normal_density(u) - sigma.log() - x.log() - torch.log1p(-x)

    def _points(self, k: Tensor) -> Tensor:
        return self._centres(k)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        formula = LogBinMass(log_normal_bin, self._bins, self.scale)
        return pointwise(formula, outputs, k, self._shared())

    def _bins(self, k: Tensor) -> Bins:
        """Return the bins of levels k as logits."""
        bins, k = level_bins(self.levels)(k), k.int()
        lower, upper = look_up(self.edges, k), look_up(self.edges, k + 1)
        return bins._replace(lower=lower, upper=upper, width=look_up(self.widths, k))

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        mu, sigma = self._mean_and_scale(outputs)
        tail: Tensor = torch.special.ndtr((mu - math.log(edge / (1 - edge))) / sigma)
        return tail

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        mu, sigma = self._mean_and_scale(outputs)
        noise = torch.randn(mu.shape, generator=generator, device=mu.device)
        return self._levels_of(torch.sigmoid(mu + sigma * noise))
