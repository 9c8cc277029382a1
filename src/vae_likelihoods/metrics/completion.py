"""What the lower half of an image costs, given its upper half."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.inference.completion import borrowed, resampled
from vae_likelihoods.metrics.base import Metric, Missing, Value, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.base import DirectModel, Model, upper_half
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import Quantity

_BITS = "bits a pixel and channel of the lower half takes, given the upper half: -log2 p(lower | upper)"
_PIXELS = Quantity("bits per pixel of the lower half")
_EFFECTIVE = "how many draws of z given the upper half carry weight, mean over images"
_ONE_ROW = Missing("images of one row have no upper half")
_EXACT = Missing("the model gives p(lower | upper) itself")


@dataclass(frozen=True)
class Completion(Metric):
    """-log p(lower half | upper half) of test images, in bits per pixel of the lower half.

    Exact where the model gives p(x) directly. Of a VAE it is an estimate: the difference of two lower bounds,
    on log p(x) and on log p(upper), with as many draws of z for each (see inference/completion.py).

    Args:
        images: how many of the test split, from its first one on.
        neighbours: R, how many train images lend the proposals their lower halves.
        samples: draws of z from each proposal; k of both bounds is R times as many.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    of: ClassVar[type] = Model
    images: int
    neighbours: int
    samples: int
    decoded_at_once: int

    def __post_init__(self) -> None:
        require_count("images", self.images, least=2)
        for key in ("neighbours", "samples", "decoded_at_once"):
            require_count(key, getattr(self, key))

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        bits = Declaration(
            "completion_bits",
            _BITS,
            Quantity("bits per pixel of the lower half"),
            "lower half",
            ".4f",
        )
        draws = Quantity("draws of z per image")
        return [
            bits,
            bits.standard_error(),
            Declaration("completion_effective_draws", _EFFECTIVE, draws, "lower half, ESS", ".1f"),
        ]

    @override
    def __call__(self, model: VAE | DirectModel, data: Data, noise: torch.Generator) -> Values:
        levels = data.test.images[: self.images]
        rows = upper_half((levels.shape[1], levels.shape[2], levels.shape[3]))
        if rows == 0:
            return self.without(data, _ONE_ROW)
        if isinstance(model, DirectModel):
            nats, effective = [-model.scores(levels, rows)], None
        else:
            nats, effective = self._of_vae(model, levels, rows, data.train.images, noise)
        bits = numpy(nats) / (levels[0, :, rows:].numel() * math.log(2))
        size: Value = _EXACT if effective is None else float(numpy(effective).mean())
        return {
            **with_error("completion_bits", bits, kept=False),
            "completion_effective_draws": size,
        }

    def _of_vae(
        self, model: VAE, levels: Tensor, rows: int, train: Tensor, noise: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the estimate and the effective number of draws, batch by batch."""
        count = min(self.neighbours, len(train))
        draws = count * self.samples
        nats, effective = [], []
        for batch in in_batches(levels, self.decoded_at_once // draws):
            proposals = borrowed(batch, train, rows, count)
            upper = resampled(model, batch, rows, proposals, self.samples, noise)
            posterior = model.posterior(batch)
            whole = importance_weighted(model, batch, posterior, [draws], noise, self.decoded_at_once)
            nats.append(upper.log_upper - whole.log_mean_weight[0])
            effective.append(upper.effective_sample_size)
        return nats, effective
