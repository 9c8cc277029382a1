"""A law that the project does not have, as somebody would write it in a package of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.laws.base import Law


@dataclass(frozen=True)
class HyperbolicSecant(Law):
    """p(u) = 1 / (pi cosh u): a bell with exponential tails; scipy's `hypsecant`."""

    def log_density(self, u: Tensor) -> Tensor:
        return math.log(2 / math.pi) - u.abs() - torch.log1p(torch.exp(-2 * u.abs()))

    def log_upper_tail(self, u: Tensor) -> Tensor:
        """log(2/pi atan(e^-u)), which is log(2/pi) - u to the last digit for u > 20."""
        return math.log(2 / math.pi) + torch.where(u > 20, -u, (-u.clamp(-40, 20)).exp().atan().log())

    def quantile(self, p: Tensor) -> Tensor:
        return torch.log(torch.tan(0.5 * math.pi * p))
