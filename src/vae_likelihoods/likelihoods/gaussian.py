"""Gaussian: squared error with its scale, fixed or learned and shared by all pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import DensityLikelihood, TrainedOn, number
from vae_likelihoods.likelihoods.normal_numerics import log_ndtr, log_normal_density, log_normal_interval

# Squares of more standard deviations than this overflow.
_FAR = 1e18


class Gaussian(DensityLikelihood):
    """N(mu, sigma^2) on the line, its tails censored into the end bins; sigma is fixed.

    log density = -(x - mu)^2 / (2 sigma^2) - log sigma - log(2 pi) / 2: half the squared error over sigma^2.
    Fixing sigma fixes the weight of the KL term: beta = 2 sigma^2 against the plain squared error.

    Args:
        levels: K.
        channels: C.
        sigma: standard deviation in units of the [0, 1] range.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: sigma is not positive.
    """

    sigma: Tensor

    def __init__(
        self, levels: int, channels: int, sigma: float = 1.0, trained_on: TrainedOn = "density"
    ) -> None:
        super().__init__(levels, channels, trained_on)
        require(0 < number(sigma) < math.inf, "likelihood.sigma", sigma, "need a positive standard deviation")
        self.register_buffer("sigma", torch.tensor(float(sigma)), persistent=False)

    def scale(self) -> Tensor:
        """Return sigma, 0-dimensional."""
        return self.sigma

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        (mu,), sigma = outputs.unbind(-4), self.scale()
        return log_normal_density((x - mu) / sigma) - sigma.log()

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (mu,), width = outputs.unbind(-4), self._bin_width()
        # In units of a bin, so that neighbours share an edge exactly and the pmf sums to 1.
        centre = ((k.float() + 0.5 - self.levels * mu) * width).clamp(-_FAR, _FAR)
        towards_edge = torch.where(k == 0, 1.0, -1.0)
        end = log_ndtr(0.5 * width + towards_edge * centre)
        if self.levels == 2:  # both bins are ends
            return end
        return torch.where((k == 0) | (k == self.levels - 1), end, log_normal_interval(centre, width))

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1) = sum over the inner edges j/K of P(x > j/K), over K-1."""
        (mu,), width = self._parameters_of(outputs).unbind(-4), self._bin_width()
        position, expected = self.levels * mu, torch.zeros_like(mu)
        for edge in range(1, self.levels):
            expected = expected + torch.special.ndtr((position - edge) * width)
        return (expected / (self.levels - 1)).clamp(0, 1)

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        (mu,) = outputs.unbind(-4)
        noise = torch.randn(mu.shape, generator=generator, device=mu.device)
        return ((mu + self.scale() * noise) * self.levels).floor().clamp(0, self.levels - 1)

    def _bin_width(self) -> Tensor:
        """Return the width of a bin in standard deviations."""
        return 1 / (self.levels * self.scale())


class LearnedGaussian(Gaussian):
    """A Gaussian whose sigma is learned, one for all pixels; on the density its optimum is sqrt(MSE).

    sigma = min_sigma / K + exp(s): a density whose scale is free is unbounded above, because pixels that
    never change can be fitted exactly, and so sigma stops at a fraction of a bin.

    Args:
        levels: K.
        channels: C.
        sigma: where training starts, in units of the [0, 1] range.
        min_sigma: lower bound in bins of width 1/K.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: min_sigma is not positive, or sigma not above it.
    """

    def __init__(
        self,
        levels: int,
        channels: int,
        sigma: float = 0.3,
        min_sigma: float = 0.25,
        trained_on: TrainedOn = "density",
    ) -> None:
        super().__init__(levels, channels, sigma, trained_on)
        require(
            0 < number(min_sigma) < math.inf,
            "likelihood.min_sigma",
            min_sigma,
            "need a positive part of a bin",
        )
        self.floor = min_sigma / levels
        require(
            sigma > self.floor, "likelihood.sigma", sigma, f"must be above min_sigma / K = {self.floor:.4g}"
        )
        self.log_excess = nn.Parameter(torch.tensor(math.log(sigma - self.floor)))

    def scale(self) -> Tensor:
        """Return sigma, 0-dimensional, differentiable."""
        return self.floor + self.log_excess.exp()

    def summary(self) -> dict[str, float]:
        """Return the learned sigma."""
        return {"sigma": self.scale().item()}
