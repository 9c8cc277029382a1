"""Distortion plus a weight times the rate: the evidence lower bound, and beta-VAEs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.models.vae import VAE, Noise, reparameterised
from vae_likelihoods.objectives.base import Objective, Terms


@dataclass(frozen=True)
class ELBO(Objective):
    """distortion + beta rate, one sample a batch (Kingma & Welling 2014; beta: Higgins et al. 2017).

    Args:
        beta: the final weight on the rate.
        warmup_epochs: epochs in which the weight rises linearly to `beta` (Bowman et al. 2016); 0: none.
    """

    beta: float
    warmup_epochs: int

    def __post_init__(self) -> None:
        require(0 <= self.beta < math.inf, "beta", self.beta, "must be finite and at least 0")
        require_count("warmup_epochs", self.warmup_epochs, least=0)

    @override
    def rate_weight(self, epoch: int) -> float:
        """Return the weight, which reaches beta after `warmup_epochs` equal steps."""
        return self.beta * min(1.0, epoch / (self.warmup_epochs + 1))

    @override
    def __call__(self, model: VAE, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        posterior = model.posterior(levels)
        z = reparameterised(posterior, noise)  # [B, L]
        distortion = -model.likelihood.log_prob(model.decode(z), levels)  # [B]
        rate = model.rate_per_latent(posterior).sum(-1)  # [B]
        loss = (distortion + self.rate_weight(epoch) * rate).mean()
        return Terms(loss, distortion, rate)
