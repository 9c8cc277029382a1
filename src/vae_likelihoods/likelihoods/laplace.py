"""Laplace: absolute error with its scale, which is learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import TrainedOn, uniform_like
from vae_likelihoods.likelihoods.bins import Slopes
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.numerics import above, exp_, side_of, tiny
from vae_likelihoods.likelihoods.scales import learned_scale


class Laplace(LocationScale):
    """p(u) = exp(-|u|) / 2; log density = -|x - mu| / s - log(2 s): the absolute error over s.

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
        return -(u * side_of(u)) - math.log(2)

    def _law(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> Slopes:
        """Return log((e^-a - e^-b) / 2) beside the mode, log(1 - (e^a + e^-b) / 2) around it."""
        negative = -lower
        a, b = torch.minimum(upper, negative).neg_(), torch.maximum(upper, negative)
        around, outside = above(-a, 0), a.clamp_min(0)
        step = torch.lerp(torch.full_like(a, -1), torch.expm1(-width.clamp_max(20)), inner)  # e^(a - b) - 1
        inside = a.clamp(-20, 0).expm1_().add_(torch.expm1(-b.clamp_max(20)))
        mass = torch.lerp(step, inside, around).mul_(-0.5).clamp_min_(tiny(a))  # times e^a beside the mode
        per_mass = mass.reciprocal().mul_(0.5)
        at_a = exp_(a.clamp_max(0)).mul_(per_mass)
        at_b = exp_(outside - b).mul_(per_mass)
        slope = torch.lerp(torch.full_like(a, -1), at_b - at_a, around).mul_((upper + lower).sign_())
        return Slopes(mass.log_().sub_(outside), slope, at_a.add_(at_b).mul_(0.5))

    def _upper_tail(self, u: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-u.abs())
        return torch.lerp(tail, 1 - tail, above(-u, 0))

    def _noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        u = uniform_like(like, generator) - 0.5
        return -torch.copysign(torch.log1p(-2 * u.abs()), u)
