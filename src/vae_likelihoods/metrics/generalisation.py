"""How much better the images are scored that were trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.metrics.base import Floats, Measured, Metric, Number, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import standard_error, with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import NATS, Quantity


@dataclass(frozen=True)
class Generalisation(Metric):
    """Minus the importance-weighted bound on images of the train split, and by how much test is above it.

    Args:
        images: how many of each split, the first.
        samples: k of the bound.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    images: int
    samples: int
    decoded_at_once: int

    def __post_init__(self) -> None:
        require_count("images", self.images, least=2)  # an error over images needs two
        require_count("samples", self.samples)
        require_count("decoded_at_once", self.decoded_at_once)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        train = self._nll(model, data.train.images[: self.images], noise)
        test = self._nll(model, data.test.images[: self.images], noise)
        of_train = Quantity("nats per image of the train split", "mass", self.samples)
        gap = Quantity(NATS, "mass", self.samples)
        error = math.hypot(standard_error(train), standard_error(test))
        return Measured(
            {
                **with_error("train_nll_nats", train, of_train, kept=False),
                "generalisation_gap_nats": Number(float(test.mean() - train.mean()), gap, better="lower"),
                "generalisation_gap_nats_se": Number(error, gap),
            }
        )

    def _nll(self, model: VAE, levels: Tensor, noise: torch.Generator) -> Floats:
        """Return minus the bound of each image, [N]."""
        found = []
        for batch in in_batches(levels, self.decoded_at_once // self.samples):
            posterior, curve = model.posterior(batch), [self.samples]
            bounds = importance_weighted(model, batch, posterior, curve, noise, self.decoded_at_once)
            found.append(-bounds.log_mean_weight[0])
        return numpy(found)
