"""What images cost without any latent variable: the scores that a trained model has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Metric, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.base import Model
from vae_likelihoods.models.independent import level_counts, log_probability, log_shares
from vae_likelihoods.units.declaration import ITSELF, Declaration
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, bits_per_dim

_UNIFORM = "every level of every pixel equally likely"
_PIXELS = "every pixel by itself: a smoothed histogram of its levels in the train split"
SMOOTHING = 0.5  # as in conf/model/independent.yaml


@dataclass(frozen=True)
class Baselines(Metric):
    """Two models without training, exact and on the scale of the score.

    *Uniform* gives every level 1 / K. *Independent pixels* is `models.independent.Independent`, with the
    images that the trained model saw. The trained model itself is not read.

    Args:
        batch_size: images that are scored at once.
    """

    of: ClassVar[type] = Model
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
    def __call__(self, model: Model, data: Data, noise: torch.Generator) -> Values:
        test = data.test.images.cpu()
        logs = log_shares(level_counts(data.train.images.cpu(), data.levels), SMOOTHING)
        nats = numpy([-log_probability(logs, batch) for batch in in_batches(test, self.batch_size)])
        dimensions = test[0].numel()
        uniform = dimensions * math.log(data.levels)
        return {
            "uniform_bits_per_dim": bits_per_dim(uniform, dimensions),
            "uniform_nats": uniform,
            "independent_pixels_bits_per_dim": bits_per_dim(float(nats.mean()), dimensions),
            "independent_pixels_nats": nats,
        }
