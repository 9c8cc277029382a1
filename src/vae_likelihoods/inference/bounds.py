"""The importance-weighted bound on log p(x), in nats per image; its memory does not grow with k."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.models.base import Model
from vae_likelihoods.models.blocks import log_mass
from vae_likelihoods.models.vae import VAE, reparameterised
from vae_likelihoods.precision import home_of_float64, precise


class ImportanceSamples(NamedTuple):
    """A block of S draws z_i ~ q(z | x) for every image of a batch."""

    log_likelihood: Tensor  # [S, B]  log p(x | z_i), the mass over K levels
    log_ratio: Tensor  # [S, B]  log p(z_i) - log q(z_i | x)

    @property
    def log_weights(self) -> Tensor:
        """[S, B]  log w_i = log p(x, z_i) - log q(z_i | x)."""
        return self.log_likelihood + self.log_ratio


def importance_samples(
    model: VAE, levels: Tensor, posterior: Normal, samples: int, noise: torch.Generator, decoded_at_once: int
) -> Iterator[ImportanceSamples]:
    """Yield `samples` draws from q = `posterior` for levels [B, C, H, W], block by block.

    A block decodes at most `decoded_at_once` images, but at least one draw for each image of the batch.

    Raises:
        SettingError: the images are no levels of the model.
    """
    model.require_levels(levels)
    block = max(1, decoded_at_once // len(levels))
    for start in range(0, samples, block):
        z = reparameterised(posterior, noise, min(block, samples - start))  # [S, B, L]
        log_likelihood = log_mass(model, z, levels)
        log_ratio = (model.prior().log_prob(z) - posterior.log_prob(z)).sum(-1)
        yield ImportanceSamples(log_likelihood, log_ratio)


class Bounds(NamedTuple):
    """Bounds from the draws of a batch, in float64 nats per image, for each of the P values of k."""

    log_mean_weight: Tensor  # [P, B]  IWAE_k, a lower bound on log p(x)
    effective_sample_size: Tensor  # [P, B]  of k draws
    log_likelihood: Tensor  # [B]  E_q log p(x | z), mean over all draws: minus the distortion
    rate: Tensor  # [B]  KL(q(z | x) to p(z)), in closed form

    @property
    def elbo(self) -> Tensor:
        """[B]  The evidence lower bound."""
        return self.log_likelihood - self.rate


def importance_weighted(
    model: VAE,
    levels: Tensor,
    posterior: Normal,
    curve: Sequence[int],
    noise: torch.Generator,
    decoded_at_once: int,
) -> Bounds:
    """Bound log p(x) with each k of `curve` in one pass over max(curve) draws from q = `posterior`.

    All draws are used for each k: a smaller k is averaged over all groups of k draws, so its error is smaller
    than that of one group. If each k divides the next one, the curve rises for every image, not only in
    expectation (Burda et al. 2016, theorem 1, holds within each group).

    Args:
        model: decoder, prior and likelihood.
        levels: images [B, C, H, W].
        posterior: q(z | x), mean and scale [B, L].
        curve: the numbers of draws, each at least 1.
        noise: the source of the draws.
        decoded_at_once: images decoded together.

    Raises:
        SettingError: the images are no levels of the model.
    """
    draws = max(curve)
    home = home_of_float64(levels.device)
    bounds = [RunningBound(k, len(levels), home) for k in curve]
    total = torch.zeros(len(levels), dtype=torch.float64, device=home)
    for block in importance_samples(model, levels, posterior, draws, noise, decoded_at_once):
        log_weights = precise(block.log_weights)
        for bound in bounds:
            bound.add(log_weights)
        total += precise(block.log_likelihood).sum(0)
    return Bounds(
        torch.stack([bound.value for bound in bounds]),
        torch.stack([bound.effective_sample_size for bound in bounds]),
        total / draws,
        precise(model.rate_per_latent(posterior).sum(-1)),
    )


def scored(
    model: Model, levels: Tensor, samples: int, noise: torch.Generator, decoded_at_once: int
) -> Bounds:
    """Return the score of images by any model, as `Bounds` with one k; see `importance_weighted`.

    Of a model that gives log p(x) itself, that is the bound and the ELBO: the rate is 0, and so is the noise.

    Args:
        model: any.
        levels: images [B, C, H, W].
        samples: k, of a model with latent variables.
        noise: the source of the draws.
        decoded_at_once: images decoded together.

    Raises:
        SettingError: the images are no levels of the model.
    """
    if isinstance(model, VAE):
        posterior = model.posterior(levels)
        return importance_weighted(model, levels, posterior, [samples], noise, decoded_at_once)
    model.require_levels(levels)
    distortion, rate = (precise(part) for part in model.parts(levels, noise, nullcontext))
    every = torch.full_like(distortion, samples).unsqueeze(0)
    return Bounds(-distortion.unsqueeze(0), every, -distortion, rate)


class RunningBound:
    """log mean_i w_i and effective sample size of groups of k draws, averaged over groups.

    It stores four numbers an image for any k. Draws that do not fill a group are left out.

    Args:
        k: draws in a group.
        images: B.
        device: where the log weights lie.
    """

    def __init__(self, k: int, images: int, device: torch.device) -> None:
        self.k, self.filled, self.groups = k, 0, 0
        log_zero = torch.full((images,), -math.inf, dtype=torch.float64, device=device)
        # Of the group that is being filled: log sum w and log sum w^2.
        self._log_sum, self._log_squares = log_zero, log_zero
        # Of the full groups: the sums of their bounds and sizes.
        self._bounds, self._sizes = torch.zeros_like(log_zero), torch.zeros_like(log_zero)

    @property
    def value(self) -> Tensor:
        """[B]  The mean over groups of log mean_i w_i (Burda et al. 2016, equation 8)."""
        return self._bounds / self.groups

    @property
    def effective_sample_size(self) -> Tensor:
        """[B]  The mean over groups of (sum w)^2 / sum w^2 (Kong 1992), between 1 and k."""
        return self._sizes / self.groups

    def add(self, log_weights: Tensor) -> None:
        """Add further log weights [S, B], float64."""
        while len(log_weights) > 0:
            in_groups = len(log_weights) // self.k * self.k if self.filled == 0 else 0
            count = in_groups or min(len(log_weights), self.k - self.filled)
            if in_groups:
                groups = log_weights[:in_groups].unflatten(0, (-1, self.k))  # [G, k, B]
                self._count(torch.logsumexp(groups, 1), torch.logsumexp(2 * groups, 1))
            else:
                self._fill(log_weights[:count])
            log_weights = log_weights[count:]

    def _fill(self, log_weights: Tensor) -> None:
        """Add draws to the group that is being filled."""
        self._log_sum = torch.logaddexp(self._log_sum, torch.logsumexp(log_weights, 0))
        self._log_squares = torch.logaddexp(self._log_squares, torch.logsumexp(2 * log_weights, 0))
        self.filled += len(log_weights)
        if self.filled == self.k:
            self._count(self._log_sum.unsqueeze(0), self._log_squares.unsqueeze(0))
            log_zero = torch.full_like(self._log_sum, -math.inf)
            self._log_sum, self._log_squares, self.filled = log_zero, log_zero, 0

    def _count(self, log_sums: Tensor, log_squares: Tensor) -> None:
        """Add full groups, [G, B], to the sums."""
        self._bounds += (log_sums - math.log(self.k)).sum(0)
        self._sizes += (2 * log_sums - log_squares).exp().sum(0)
        self.groups += len(log_sums)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log mean_i w_i, [B], for log weights [k, B] (Burda et al. 2016, equation 8), in float64."""
    return torch.logsumexp(precise(log_weights), 0) - math.log(len(log_weights))


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return (sum w)^2 / sum w^2, [B], between 1 and k, for log weights [k, B] (Kong 1992), in float64."""
    logs = precise(log_weights)
    return (2 * torch.logsumexp(logs, 0) - torch.logsumexp(2 * logs, 0)).exp()
