"""Gaussian: squared error with its scale, which is fixed, learned, or the decoder's."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import TrainedOn
from vae_likelihoods.likelihoods.bins import Slopes
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.normal_numerics import log_normal_bin, log_normal_density
from vae_likelihoods.likelihoods.scales import FixedScale, learned_scale


class Normal(LocationScale):
    """N(mu, sigma^2) on the line, its tails censored into the end bins.

    log density = -(x - mu)^2 / (2 sigma^2) - log sigma - log(2 pi) / 2: half the squared error over sigma^2.
    """

    scale_name = "sigma"

    def _log_law(self, u: Tensor) -> Tensor:
        return log_normal_density(u)

    def _law(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> Slopes:
        return log_normal_bin(lower, upper, width, inner)

    def _upper_tail(self, u: Tensor) -> Tensor:
        tail: Tensor = torch.special.ndtr(-u)
        return tail

    def _noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=generator, device=like.device)


class Gaussian(Normal):
    """A Gaussian of one fixed sigma: the plain squared error.

    Fixing sigma fixes the weight of the KL term: beta = 2 sigma^2 against the plain squared error.

    Args:
        levels: K.
        channels: C.
        sigma: standard deviation in units of the [0, 1] range.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: sigma is not a positive number.
    """

    def __init__(
        self, levels: int, channels: int, sigma: float = 1.0, trained_on: TrainedOn = "density"
    ) -> None:
        super().__init__(levels, channels, trained_on)
        self._take(FixedScale("sigma", sigma))


class LearnedGaussian(Normal):
    """A Gaussian whose sigma is learned: one for all pixels, or an output of the decoder for each.

    On the density the optimum of a shared sigma is sqrt(MSE).

    Args:
        levels: K.
        channels: C.
        sigma: where training starts, in units of the [0, 1] range.
        min_sigma: lower bound in bins of width 1/K.
        per_pixel: False, one sigma; True, a second output a pixel (heteroscedastic).
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
        per_pixel: bool = False,
        trained_on: TrainedOn = "density",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        self._take(learned_scale(per_pixel, "sigma", sigma, min_sigma, levels))
