"""The normal law: squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.likelihoods.laws.base import IntervalMass, Law
from vae_likelihoods.likelihoods.laws.normal_interval import LOG_SQRT_2PI, log_normal_interval


@dataclass(frozen=True)
class Normal(Law):
    """p(u) = exp(-u^2 / 2) / sqrt(2 pi): a scale s is the standard deviation, sigma.

    The log-density -(x - mu)^2 / (2 s^2) - log s - log(2 pi) / 2 is half the squared error over sigma^2.
    """

    @override
    def log_density(self, u: Tensor) -> Tensor:
        return -0.5 * u.square() - LOG_SQRT_2PI

    @override
    def log_upper_tail(self, u: Tensor) -> Tensor:
        tail: Tensor = torch.special.log_ndtr(-u)
        return tail

    @override
    def quantile(self, p: Tensor) -> Tensor:
        u: Tensor = torch.special.ndtri(p)
        return u

    @override
    def upper_tail(self, u: Tensor) -> Tensor:
        tail: Tensor = torch.special.ndtr(-u)
        return tail

    @override
    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

    @override
    def log_interval(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> IntervalMass:
        return log_normal_interval(lower, upper, width)
