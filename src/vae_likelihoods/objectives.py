"""What training minimises, as named records: [B] and nats beside each field.

The ELBO is a lower bound: `elbo` holds it, never minus it. `loss` is what is minimised.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.models.vae import VAE, Noise, reparameterised


class Terms(NamedTuple):
    """The parts of a bound for a batch, in nats per image (sums over pixels and latents)."""

    loss: Tensor  # []   what is minimised
    distortion: Tensor  # [B]  -E_q log p(x | z), on the scale the likelihood is trained on
    rate: Tensor  # [B]  KL(q(z | x) to p(z))

    @property
    def elbo(self) -> Tensor:
        """[B]  The evidence lower bound at beta = 1, whatever the loss weighs."""
        return -(self.distortion + self.rate)

    def means(self) -> Tensor:
        """[3]  Loss, mean distortion and mean rate; the loss alone has a gradient."""
        return torch.stack([self.loss, self.distortion.detach().mean(), self.rate.detach().mean()])


class Objective(ABC):
    """A loss for a VAE; called with levels, where the noise comes from, and the epoch (from 1)."""

    @abstractmethod
    def __call__(self, model: VAE, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        """Return the `Terms` of levels [B, C, H, W]."""

    def rate_weight(self, epoch: int) -> float:
        """Return the weight on the rate in `epoch`; 1 for every proper bound."""
        return 1.0

    def draws(self) -> int:
        """Return k, how many z ~ q(z | x) are drawn for each image."""
        return 1


@dataclass(frozen=True)
class ELBO(Objective):
    """distortion + beta rate, one sample a batch (Kingma & Welling 2014; beta: Higgins et al. 2017).

    Args:
        beta: the final weight on the rate.
        warmup_epochs: epochs over which the weight rises linearly to `beta` (Bowman et al. 2016); 0: none.
    """

    beta: float
    warmup_epochs: int

    def __post_init__(self) -> None:
        require(0 <= self.beta < math.inf, "objective.beta", self.beta, "must be finite and at least 0")
        require_count("objective.warmup_epochs", self.warmup_epochs, least=0)

    @override
    def rate_weight(self, epoch: int) -> float:
        """Return beta, reached after `warmup_epochs` equal steps from above 0."""
        return self.beta * min(1.0, epoch / (self.warmup_epochs + 1))

    @override
    def __call__(self, model: VAE, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        posterior = model.posterior(levels)
        z = reparameterised(posterior, noise)  # [B, L]
        distortion = -model.likelihood.log_prob(model.decode(z), levels)  # [B]
        rate = model.rate_per_latent(posterior).sum(-1)  # [B]
        loss = (distortion + self.rate_weight(epoch) * rate).mean()
        return Terms(loss, distortion, rate)


@dataclass(frozen=True)
class SeveralDraws(Objective):
    """A bound made of the log-weights log p(x, z_i) - log q(z_i | x) of `samples` draws z_i ~ q(z | x)."""

    samples: int

    def __post_init__(self) -> None:
        require_count("objective.samples", self.samples)

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

    The same bound as `ELBO` at beta = 1, whatever the number of draws; more of them make its gradient less
    noisy. It is "VAE" in the tables of Burda et al. (2016, arXiv:1509.00519, section 3), which sets it beside
    the importance-weighted bound at equal cost. With one draw it is `IWAE` with one draw.
    """

    @override
    def bound(self, log_weights: Tensor) -> Tensor:
        return log_weights.mean(0)
