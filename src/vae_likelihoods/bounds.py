"""Bounds on log p(x), in nats per image."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_likelihoods.models.vae import VAE, reparameterised


class ImportanceSamples(NamedTuple):
    """k draws z_i ~ q(z | x) for every image of a batch."""

    log_likelihood: Tensor  # [k, B]  log p(x | z_i), the mass over K levels
    log_ratio: Tensor  # [k, B]  log p(z_i) - log q(z_i | x)
    rate: Tensor  # [B]     KL(q(z | x) to p(z)), in closed form


def importance_samples(
    model: VAE, levels: Tensor, samples: int, noise: torch.Generator, decoded_at_once: int
) -> ImportanceSamples:
    """Encode levels [B, C, H, W] once, decode `samples` draws, at most `decoded_at_once` images at a time."""
    posterior = model.posterior(levels)
    log_likelihood, log_ratio = [], []
    block = max(1, decoded_at_once // len(levels))
    for start in range(0, samples, block):
        z = reparameterised(posterior, noise, min(block, samples - start))  # [S, B, L]
        log_likelihood.append(model.likelihood.log_mass(model.decode(z), levels))
        log_ratio.append((model.prior().log_prob(z) - posterior.log_prob(z)).sum(-1))
    rate = model.rate_per_latent(posterior).sum(-1)
    return ImportanceSamples(torch.cat(log_likelihood), torch.cat(log_ratio), rate)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log mean_i w_i, [B], for log weights [k, B] (Burda et al. 2016, equation 8), in float64."""
    return torch.logsumexp(log_weights.double(), 0) - math.log(len(log_weights))


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return (sum w)^2 / sum w^2, [B], between 1 and k, for log weights [k, B] (Kong 1992), in float64."""
    logs = log_weights.double()
    return (2 * torch.logsumexp(logs, 0) - torch.logsumexp(2 * logs, 0)).exp()
