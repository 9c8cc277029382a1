"""Bounds that use several draws of z for each image."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.models.vae import VAE, Noise, reparameterised
from vae_likelihoods.objectives.base import Objective, Terms


@dataclass(frozen=True)
class SeveralDraws(Objective):
    """A bound from the log-weights log p(x, z_i) - log q(z_i | x) of `samples` draws z_i ~ q(z | x)."""

    samples: int

    def __post_init__(self) -> None:
        require_count("samples", self.samples)

    @abstractmethod
    def bound(self, log_weights: Tensor) -> Tensor:
        """Return the bound, [B], of log-weights [S, B]."""

    @override
    def draws(self) -> int:
        """Return `samples`."""
        return self.samples

    @override
    def __call__(self, model: VAE, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        posterior = model.posterior(levels)
        z = reparameterised(posterior, noise, self.samples)  # [S, B, L]
        log_likelihood = model.likelihood.log_prob(model.decode(z), levels)  # [S, B]
        log_ratio = (model.prior().log_prob(z) - posterior.log_prob(z)).sum(-1)  # [S, B]
        rate = model.rate_per_latent(posterior).sum(-1)
        return Terms(-self.bound(log_likelihood + log_ratio).mean(), -log_likelihood.mean(0), rate)


@dataclass(frozen=True)
class IWAE(SeveralDraws):
    """Minus the importance-weighted bound with `samples` draws (Burda et al. 2016, equation 8)."""

    @override
    def bound(self, log_weights: Tensor) -> Tensor:
        return torch.logsumexp(log_weights, 0) - math.log(self.samples)


@dataclass(frozen=True)
class AveragedELBO(SeveralDraws):
    """Minus the mean of the log-weights over `samples` draws.

    It is the same bound as `ELBO` at beta = 1 for any number of draws; more draws make its gradient less
    noisy. The tables of Burda et al. (2016, arXiv:1509.00519, section 3) call it "VAE" and compare it with
    the importance-weighted bound at equal cost. With one draw it is `IWAE` with one draw.
    """

    @override
    def bound(self, log_weights: Tensor) -> Tensor:
        return log_weights.mean(0)
