"""The Laplace law: absolute error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.likelihoods.laws.base import IntervalMass, Law
from vae_likelihoods.likelihoods.tensors import above, exp_, side_of, tiny


@dataclass(frozen=True)
class Laplace(Law):
    """p(u) = exp(-|u|) / 2: the log-density -|x - mu| / s - log(2 s) is the absolute error over s."""

    @override
    def log_density(self, u: Tensor) -> Tensor:
        return -(u * side_of(u)) - math.log(2)

    @override
    def log_upper_tail(self, u: Tensor) -> Tensor:
        size = u.abs()
        return torch.where(u > 0, -size - math.log(2), torch.log1p(-0.5 * torch.exp(-size)))

    @override
    def quantile(self, p: Tensor) -> Tensor:
        from_middle = p - 0.5
        return torch.copysign(torch.log1p(-2 * from_middle.abs()), from_middle)

    @override
    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return -super().draw(like, generator)  # the same law, but other samples than without the sign

    @override
    def upper_tail(self, u: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-u.abs())
        return torch.lerp(tail, 1 - tail, above(-u, 0))

    @override
    def log_interval(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> IntervalMass:
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
        return IntervalMass(mass.log_().sub_(outside), slope, at_a.add_(at_b).mul_(0.5))
