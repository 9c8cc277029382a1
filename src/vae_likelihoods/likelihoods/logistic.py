"""Logistic: tails between Gaussian and Laplace, and bin masses in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import TrainedOn, uniform_like
from vae_likelihoods.likelihoods.bins import Slopes
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.logistic_numerics import log_logistic_bin
from vae_likelihoods.likelihoods.numerics import side_of
from vae_likelihoods.likelihoods.scales import learned_scale


class Logistic(LocationScale):
    """P(u <= t) = sigmoid(t); the discretised logistic of Salimans et al. 2017 (arXiv:1701.05517) on [0, 1].

    Args:
        levels: K.
        channels: C.
        scale: where training of s starts, in units of the [0, 1] range.
        min_scale: lower bound in bins of width 1/K.
        per_pixel: False, one s; True, a second output a pixel.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: min_scale is not positive, or scale not above it.
    """

    def __init__(
        self,
        levels: int,
        channels: int,
        scale: float = 0.1,
        min_scale: float = 0.1,
        per_pixel: bool = False,
        trained_on: TrainedOn = "mass",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        self._take(learned_scale(per_pixel, "scale", scale, min_scale, levels))

    def _log_law(self, u: Tensor) -> Tensor:
        return log_logistic_density(u)

    def _law(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> Slopes:
        return log_logistic_bin(lower, upper, width, inner)

    def _upper_tail(self, u: Tensor) -> Tensor:
        return torch.sigmoid(-u)

    def _noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return standard_logistic(like, generator)


def log_logistic_density(u: Tensor) -> Tensor:
    """Return log(sigmoid(u) sigmoid(-u))."""
    size = u * side_of(u)
    return -size - 2 * torch.log1p(torch.exp(-size))


def standard_logistic(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from the standard logistic in the shape of `like`."""
    return torch.logit(uniform_like(like, generator), eps=1e-7)
