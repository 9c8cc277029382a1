"""How much better the images of training are scored than others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.inference.bounds import scored
from vae_likelihoods.metrics.base import Floats, Metric, Missing, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import ONE_IMAGE, standard_error, with_error
from vae_likelihoods.models.base import Model
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

_TRAIN = "minus the importance-weighted bound on log p(x) of images of the train split"
_GAP = "how much more a test image costs than an image of the train split"


@dataclass(frozen=True)
class Generalisation(Metric):
    """Minus the importance-weighted bound on images of the train split, and how far test lies above it.

    Args:
        images: how many images of each split, from its first one on.
        samples: k of the bound.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    of: ClassVar[type] = Model
    images: int
    samples: int
    decoded_at_once: int

    def __post_init__(self) -> None:
        require_count("images", self.images, least=2)  # a standard error over images needs two
        require_count("samples", self.samples)
        require_count("decoded_at_once", self.decoded_at_once)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        of_train = Quantity("nats per image of the train split", "mass", self.samples)
        of_test = Quantity(NATS, "mass", self.samples)
        train = Declaration("train_nll_nats", _TRAIN, of_train, "train NLL", ",.2f")
        gap = Declaration("generalisation_gap_nats", _GAP, of_test, "generalisation gap", ",.2f", "lower")
        return [train, train.standard_error(), gap, gap.standard_error()]

    @override
    def __call__(self, model: Model, data: Data, noise: torch.Generator) -> Values:
        train = self._nll(model, data.train.images[: self.images], noise)
        test = self._nll(model, data.test.images[: self.images], noise)
        errors = standard_error(train), standard_error(test)
        known = [error for error in errors if not isinstance(error, Missing)]
        return {
            **with_error("train_nll_nats", train, kept=False),
            "generalisation_gap_nats": float(test.mean() - train.mean()),
            "generalisation_gap_nats_se": math.hypot(*known) if len(known) == 2 else ONE_IMAGE,
        }

    def _nll(self, model: Model, levels: Tensor, noise: torch.Generator) -> Floats:
        """Return minus the bound of each image, [N]."""
        nll = []
        for batch in in_batches(levels, self.decoded_at_once // self.samples):
            bounds = scored(model, batch, self.samples, noise, self.decoded_at_once)
            nll.append(-bounds.log_mean_weight[0])
        return numpy(nll)
