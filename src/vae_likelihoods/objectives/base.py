"""The contract of an objective, and the record of a bound's parts that it returns.

`elbo` is always the ELBO, a lower bound, and never minus it. `loss` is what is minimised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_likelihoods.models.vae import Noise


class Terms(NamedTuple):
    """The parts of a bound for a batch, in nats per image (sums over pixels and latents)."""

    loss: Tensor  # []   what is minimised
    distortion: Tensor  # [B]  -E_q log p(x | z), on the scale that the likelihood is trained on
    rate: Tensor  # [B]  KL(q(z | x) to p(z))

    @property
    def elbo(self) -> Tensor:
        """[B]  The evidence lower bound at beta = 1, whatever the weights of the loss."""
        return -(self.distortion + self.rate)

    def means(self) -> Tensor:
        """[3]  Loss, mean distortion and mean rate; the loss alone has a gradient."""
        return torch.stack([self.loss, self.distortion.detach().mean(), self.rate.detach().mean()])


class Objective(ABC):
    """A loss for a kind of model; called with levels, the source of noise, and the epoch (from 1)."""

    @abstractmethod
    def __call__(self, model: Any, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        """Return the `Terms` of levels [B, C, H, W] for a model of the objective's kind."""

    def rate_weight(self, epoch: int) -> float:
        """Return the weight on the rate in `epoch`; 1 for every bound on log p(x)."""
        return 1.0

    def draws(self) -> int:
        """Return k, how many z ~ q(z | x) are drawn for each image."""
        return 1
