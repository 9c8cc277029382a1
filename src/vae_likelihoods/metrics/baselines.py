"""What images cost without any latent variable: the scores that a trained model has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Metric, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import ITSELF, Declaration
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, bits_per_dim

_UNIFORM = "every level of every pixel equally likely"
_PIXELS = "every pixel by itself: a smoothed histogram of its levels in the train split"
_SMOOTHING = 0.5


@dataclass(frozen=True)
class Baselines(Metric):
    """Two models without training, exact and on the scale of the score.

    *Uniform* gives every level 1 / K. *Independent pixels* gives level k of pixel d the share
    ``(n_dk + 1/2) / (N + K/2)`` of the N train images, n_dk of which have it there (Krichevsky and Trofimov
    1981, https://doi.org/10.1109/TIT.1981.1056331). The trained model is not read.

    Args:
        batch_size: images that are counted, or scored, at once.
    """

    batch_size: int

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        bits, nats = Quantity(BITS, "mass"), Quantity(NATS, "mass")
        uniform = partial(Declaration, whole=ITSELF, baseline="uniform")
        pixels = partial(Declaration, whole=ITSELF, baseline="independent pixels")
        return [
            uniform("uniform_bits_per_dim", _UNIFORM, bits, "uniform", ".4f", short="uniform_bpd"),
            uniform("uniform_nats", _UNIFORM, nats, "uniform, nats", ",.2f"),
            pixels(
                "independent_pixels_bits_per_dim", _PIXELS, bits, "pixels alone", ".4f", short="pixels_bpd"
            ),
            pixels("independent_pixels_nats", _PIXELS, nats, "pixels alone, nats", ",.2f"),
        ]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        test = data.test.images.cpu()
        logs = log_shares(data.train.images.cpu(), data.levels, self.batch_size)
        nats = numpy([-log_probability(logs, batch) for batch in in_batches(test, self.batch_size)])
        dimensions = test[0].numel()
        uniform = dimensions * math.log(data.levels)
        return {
            "uniform_bits_per_dim": bits_per_dim(uniform, dimensions),
            "uniform_nats": uniform,
            "independent_pixels_bits_per_dim": bits_per_dim(float(nats.mean()), dimensions),
            "independent_pixels_nats": nats,
        }


def log_shares(train: Tensor, levels: int, batch_size: int) -> Tensor:
    """Return the logarithm of the smoothed share of each level at each pixel, float64 [D, K].

    Args:
        train: levels of N images, uint8 [N, C, H, W].
        levels: K.
        batch_size: images that are counted at once.
    """
    dimensions = train[0].numel()
    first = levels * torch.arange(dimensions)  # the place of each pixel's level 0
    counts = torch.zeros(dimensions * levels, dtype=torch.int64)
    for batch in in_batches(train, batch_size):
        places = batch.flatten(1).long() + first
        counts += torch.bincount(places.flatten(), minlength=dimensions * levels)
    smoothed = counts.view(dimensions, levels).double() + _SMOOTHING
    return torch.log(smoothed / smoothed.sum(1, keepdim=True))


def log_probability(logs: Tensor, images: Tensor) -> Tensor:
    """Return the log-probability of each image [B, C, H, W] under independent pixels, in nats, [B]."""
    pixels = images.flatten(1).long()  # [B, D]
    return logs[torch.arange(len(logs)), pixels].sum(1)
