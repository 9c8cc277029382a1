"""The score of the same decoder after its encoder is trained again: was the encoder at fault?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.inference.posteriors import refitted
from vae_likelihoods.metrics.base import Floats, Metric, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

_NLL = "minus the importance-weighted bound on log p(x) after the encoder was trained again"


@dataclass(frozen=True)
class Refit(Metric):
    """The gain of an encoder that is trained further on the train split, with decoder and likelihood frozen.

    It is trained on the mass, and its best epoch is chosen on the validation split, so the test split stays
    unseen. Both encoders are scored on the test split. A gain shows what the old encoder lost of what the
    decoder can do: it was trained too briefly, on a density, on another objective or on another decoder.

    Args:
        epochs: over the train split.
        batch_size: images in a step.
        learning_rate: of Adam; it falls to 0 along half a cosine.
        samples: z of each bound, with the same noise for both encoders.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    samples: int
    decoded_at_once: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "samples", "decoded_at_once"):
            require_count(name, getattr(self, name))
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "must be positive")

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        nats = partial(Declaration, quantity=Quantity(NATS, "mass", self.samples), format=",.2f")
        gain = nats(
            "refit_elbo_gain_nats", "how much ELBO an encoder gains when trained again", header="refit gain"
        )
        nll = nats("refit_nll_nats", _NLL, header="NLL, refit", better="lower")
        return [each for number in (gain, nll) for each in (number, number.standard_error())]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        seed = int(torch.randint(2**62, (), generator=noise, device=noise.device))
        train, validation = data.train.images, data.validation.images
        again = refitted(model, train, validation, self._training, self.learning_rate, seed)
        (elbo, _), (new_elbo, new_bound) = (self._bounds(each, data, seed) for each in (model, again))
        return {
            **with_error("refit_elbo_gain_nats", new_elbo - elbo),
            **with_error("refit_nll_nats", -new_bound),
        }

    @property
    def _training(self) -> TrainingSettings:
        return TrainingSettings(
            epochs=self.epochs,
            images=None,
            batch_size=self.batch_size,
            evaluation_batch_size=1024,
            schedule="cosine",
            warmup_steps=0,
            clip_norm=None,
            patience=None,
            keep="best",
            precision="float32",
            matmul="highest",
            grid_epochs=self.epochs,
        )

    def _bounds(self, model: VAE, data: Data, seed: int) -> tuple[Floats, Floats]:
        """Return the ELBO and the importance-weighted bound of every test image, [N] each."""
        noise = torch.Generator(data.device).manual_seed(seed)
        elbo, bound = [], []
        for batch in in_batches(data.test.images, self.decoded_at_once // self.samples):
            posterior = model.posterior(batch)
            bounds = importance_weighted(model, batch, posterior, [self.samples], noise, self.decoded_at_once)
            elbo.append(bounds.elbo)
            bound.append(bounds.log_mean_weight[0])
        return numpy(elbo), numpy(bound)
