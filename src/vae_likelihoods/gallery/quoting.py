"""Correct log-likelihoods that are wrongly quoted as bits per dimension."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference, factor
from vae_likelihoods.gallery.training import LATENTS
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.likelihoods.laws import normal
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.models.independent import level_counts, log_probability, log_shares
from vae_likelihoods.units.quantity import bits_per_dim


# Seen where a Gaussian decoder on pixels in [-1, 1] is compared with models of 8-bit images.
def bits_of_density(log_density: Tensor) -> float:
    """Return minus a log-density [N, C, H, W] in bits per dimension; the result depends on the unit of x."""
    return bits_per_dim(-log_density.mean().item(), 1)


def bits_of_density_times_width(log_density: Tensor, width: float) -> float:
    """Return the bits per dimension of bins of `width` whose density is that of their middle."""
    return bits_of_density(log_density + math.log(width))


def no_bin_width(images: Images, seed: int) -> GalleryRow:
    """Return the damage of a density on [-1, 1] that is quoted as bits per dimension."""
    means = images.pixel_means()
    sigma = (images.points(images.train) - means).square().mean().sqrt()
    log_density = Normal(2 * means - 1, 2 * sigma).log_prob(2 * images.points(images.test) - 1)
    width = 2 / (images.levels - 1)
    law = normal.Normal()
    gaussian = LocationScale(images.levels, images.shape[0], law, scale=sigma.item(), learned=False)
    nats = -gaussian.log_mass(means[None], images.test).double().mean().item()
    wrong = bits_of_density(log_density)
    return GalleryRow(
        written="`-log p(x) / (D ln 2)` of a density, pixels in [-1, 1]",
        right="`-log P(k) / (D ln 2)` of the mass of a bin",
        findings=(
            difference(
                "density times bin width, bits/dim",
                bits_of_density_times_width(log_density, width),
                wrong,
                "bits/dim",
            ),
            difference("mass, bits/dim", bits_per_dim(nats, images.dimensions), wrong, "bits/dim"),
        ),
    )


# Seen in public code of flows and latent variable coders, whose networks want sides that are powers of two.
def divided_by_padded(nats: float, shape: tuple[int, int, int], side: int) -> float:
    """Return nats of images that were padded to `side` x `side` pixels, per dimension of the padded ones."""
    return bits_per_dim(nats, shape[0] * side * side)


def padded_pixels(images: Images, seed: int) -> GalleryRow:
    """Return the damage of bits per dimension that count a black frame around an image."""
    shares = log_shares(level_counts(images.train, images.levels), 0.5)
    nats = -log_probability(shares, images.test).mean().item()
    side = 1 << (max(images.shape[1:]) - 1).bit_length()
    right, wrong = bits_per_dim(nats, images.dimensions), divided_by_padded(nats, images.shape, side)
    return GalleryRow(
        written=f"pad to {side}x{side}, then `nats / ({side} {side} C ln 2)`",
        right="`nats / (D ln 2)`, D the pixels of the data times channels",
        findings=(Cost("bits/dim", right, wrong, right / wrong, "times"),),
    )


def divided_by_latents(images: Images, seed: int) -> GalleryRow:
    """Return the damage of bits per dimension that divide by the dimensions of z."""
    binary = images.at(2)
    likelihood = Bernoulli(levels=2, channels=binary.shape[0])
    nats = -likelihood.log_mass(binary.pixel_logits()[None], binary.test).double().mean().item()
    return GalleryRow(
        written=f"`nats / (L ln 2)`, L = {LATENTS} latents",
        right="`nats / (D ln 2)`, D pixels times channels",
        findings=(factor("bits/dim", bits_per_dim(nats, images.dimensions), bits_per_dim(nats, LATENTS)),),
    )
