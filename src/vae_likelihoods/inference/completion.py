"""The lower part of an image, given the rows above: its probability, and draws from it.

A model that gives p(x) directly answers both itself. A VAE's posterior of z given the upper rows has no
closed form. So z is drawn from a proposal and resampled by its weight, p(upper | z) p(z) / proposal(z) (Rubin
1987, sampling importance resampling). The proposal is a mixture of the encoder's q(z | x) at several images,
each the upper rows with the lower rows of another image. Any proposal gives a lower bound on log p(upper).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.inference.bounds import effective_sample_size, importance_weighted_bound
from vae_likelihoods.likelihoods.tensors import uniform_like
from vae_likelihoods.models.base import DirectModel, Model
from vae_likelihoods.models.blocks import drawn, encoded, log_mass
from vae_likelihoods.models.vae import VAE, reparameterised
from vae_likelihoods.precision import precise


class Resampled(NamedTuple):
    """What the upper rows of B images say of z."""

    z: Tensor  # [B, L], drawn from nearly p(z | upper)
    log_upper: Tensor  # [B], a lower bound on log p(upper) in nats, float64
    effective_sample_size: Tensor  # [B], how many of the draws carry weight


def borrowed(levels: Tensor, others: Tensor, rows: int, count: int) -> Tensor:
    """Return images with lower rows of others: of those whose upper rows are nearest, [count, B, C, H, W].

    Args:
        levels: images [B, C, H, W], of which the first `rows` rows are kept and the rest is not read.
        others: images [N, C, H, W], N at least `count`.
        rows: how many rows are given.
        count: of the nearest.
    """
    upper, their = (each[..., :rows, :].flatten(1).float() for each in (levels, others))
    near = torch.cdist(upper, their).topk(count, largest=False).indices  # [B, count]
    lower = others[near.T][..., rows:, :]  # [count, B, C, H - rows, W]
    return torch.cat([levels[..., :rows, :].expand(count, *levels[..., :rows, :].shape), lower], -2)


def resampled(
    model: VAE, levels: Tensor, rows: int, proposals: Tensor, samples: int, noise: torch.Generator
) -> Resampled:
    """Draw z given the first `rows` rows of images, and bound the probability of these rows.

    Args:
        model: a VAE.
        levels: images [B, C, H, W]; what stands below the given rows is not read.
        rows: how many rows are given.
        proposals: images [R, B, C, H, W] whose q(z | x) are mixed.
        samples: draws of z from each of the R.
        noise: the source of the draws.
    """
    count = len(proposals)
    q = encoded(model, proposals.flatten(0, 1))
    q = Normal(q.mean.unflatten(0, (count, -1)), q.stddev.unflatten(0, (count, -1)), validate_args=False)
    z = reparameterised(q, noise, samples).flatten(0, 1)  # [S, B, L], S = samples R
    log_proposal = torch.stack([precise(q.log_prob(each).sum(-1)).logsumexp(0) for each in z])
    log_prior = precise(model.prior().log_prob(z).sum(-1))
    log_weights = precise(log_mass(model, z, levels, rows)) + log_prior - log_proposal + math.log(count)
    cdf = log_weights.softmax(0).cumsum(0).to(z.dtype).to(z.device)  # [S, B]
    chosen = (uniform_like(cdf[0], noise) * cdf[-1] >= cdf).sum(0).clamp_max(len(cdf) - 1)  # [B]
    of_image = torch.arange(z.shape[1], device=z.device)
    return Resampled(
        z[chosen, of_image],
        importance_weighted_bound(log_weights),
        effective_sample_size(log_weights),
    )


def completed(
    model: Model,
    levels: Tensor,
    rows: int,
    others: Tensor,
    noise: torch.Generator,
    neighbours: int = 16,
    samples: int = 16,
) -> Tensor:
    """Return images [B, C, H, W], uint8, whose first `rows` rows are given and whose rest is drawn.

    Args:
        model: any.
        levels: images; what stands below the given rows is not read.
        rows: how many rows are given.
        others: train images, see `borrowed`; read for a VAE alone.
        noise: the source of random numbers.
        neighbours: R, at most as many as there are others.
        samples: draws of z from each of the R proposals.
    """
    if isinstance(model, DirectModel):
        return model.complete(levels, rows, noise)
    assert isinstance(model, VAE)
    proposals = borrowed(levels, others, rows, min(neighbours, len(others)))
    z = resampled(model, levels, rows, proposals, samples, noise).z
    return torch.cat([levels[..., :rows, :], drawn(model, z, noise)[..., rows:, :]], -2)
