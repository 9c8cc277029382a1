"""Importance weights with the wrong sign, in a model whose log p(x) is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference
from vae_likelihoods.inference.bounds import importance_weighted_bound
from vae_likelihoods.seeding import generator

_LATENTS, _COUNT, _DRAWS = 8, 1000, 100
_SIGMA = 0.5  # of x given z


# Seen in reimplementations of IWAE that first compute a loss for every draw.
def bound_from_losses(losses: Tensor) -> Tensor:
    """Return minus the log-mean-exp of losses [k, B]: minus log mean 1 / w."""
    return -importance_weighted_bound(losses)


# Seen in the same code, as the weights of the gradient.
def weights_from_losses(losses: Tensor) -> Tensor:
    """Return softmax(losses), [k, B]: the worst draw gets the largest weight."""
    return torch.softmax(losses, 0)


def weights_from_log_weights(log_weights: Tensor) -> Tensor:
    """Return the normalised importance weights, [k, B]."""
    return torch.softmax(log_weights, 0)


def linear_gaussian(seed: int) -> tuple[Tensor, Tensor]:
    """Return log w, [k, B], and log p(x), [B], of z ~ N(0, I), x ~ N(z, sigma^2 I), for x of that model.

    q(z | x) is not exact: its mean is 0.9 times that of the posterior, its standard deviation 1.2 times. The
    posterior is N(x / (1 + sigma^2), sigma^2 / (1 + sigma^2)).
    """
    noise = torch.randn(
        _DRAWS + 1, _COUNT, _LATENTS, dtype=torch.float64, generator=generator(seed, "gallery", "importance")
    )
    evidence = Normal(0.0, (1 + _SIGMA**2) ** 0.5)
    x = evidence.stddev * noise[0]
    posterior = Normal(0.9 * x / (1 + _SIGMA**2), 1.2 * _SIGMA / (1 + _SIGMA**2) ** 0.5)
    z = posterior.mean + posterior.stddev * noise[1:]
    log_weights = Normal(0.0, 1.0).log_prob(z) + Normal(z, _SIGMA).log_prob(x) - posterior.log_prob(z)
    return log_weights.sum(-1), evidence.log_prob(x).sum(-1)


def weights_from_loss(images: Images, seed: int) -> GalleryRow:
    """Compare the two bounds with log p(x), and the two weights of the worst draw."""
    log_weights, log_p = linear_gaussian(seed)
    return GalleryRow(
        written="`-(logsumexp(loss) - log k)`",
        right="`logsumexp(-loss) - log k`",
        findings=(*(_bound(log_weights[:k], log_p) for k in (1, 10, _DRAWS)), _worst(log_weights)),
    )


def _bound(log_weights: Tensor, log_p: Tensor) -> Cost:
    right, wrong = importance_weighted_bound(log_weights), bound_from_losses(-log_weights)
    return difference(
        f"linear Gaussian model, k = {len(log_weights)}: bound less log p(x), nats",
        (right - log_p).mean().item(),
        (wrong - log_p).mean().item(),
        "nats",
    )


def _worst(log_weights: Tensor) -> Cost:
    worst = log_weights.argmin(0, keepdim=True)
    right, wrong = weights_from_log_weights(log_weights), weights_from_losses(-log_weights)
    return difference(
        f"linear Gaussian model, k = {len(log_weights)}: weight of the worst draw",
        right.gather(0, worst).mean().item(),
        wrong.gather(0, worst).mean().item(),
        "of 1",
    )
