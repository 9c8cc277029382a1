"""What the same decoder scores once its encoder is trained again: was the encoder at fault?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.bounds import Bounds, importance_weighted
from vae_likelihoods.inference.posteriors import refitted
from vae_likelihoods.metrics.base import Floats, Measured, Metric, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.units import NATS, Quantity


@dataclass(frozen=True)
class Refit(Metric):
    """The gain of an encoder that goes on training on the train split, decoder and likelihood frozen.

    It is trained on the mass and its best epoch is chosen on the validation split, so the test split stays
    unseen. Both encoders are scored on the test split. A gain is score that the decoder had and the encoder
    lost: by training too short, on a density, on another objective or on another decoder.

    Args:
        epochs: over the train split.
        batch_size: images in a step.
        learning_rate: of Adam, falling to 0 along a half cosine.
        samples: z of each bound, the same noise for both encoders.
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
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        seed = int(torch.randint(2**62, (), generator=noise, device=noise.device))
        train, validation = data.train.images, data.validation.images
        again = refitted(model, train, validation, self._training, self.learning_rate, seed)
        before, after = (self._bounds(one, data, seed) for one in (model, again))
        gain, draws = after[0] - before[0], Quantity(NATS, "mass", self.samples)
        return Measured(
            {
                **with_error("refit_elbo_gain_nats", gain, draws),
                **with_error("refit_nll_nats", -after[1], draws, "lower"),
            }
        )

    @property
    def _training(self) -> TrainingSettings:
        return TrainingSettings(
            epochs=self.epochs,
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
        found: list[Bounds] = []
        for batch in in_batches(data.test.images, self.decoded_at_once // self.samples):
            posterior = model.posterior(batch)
            found.append(
                importance_weighted(model, batch, posterior, [self.samples], noise, self.decoded_at_once)
            )
        return numpy([one.elbo for one in found]), numpy([one.log_mean_weight[0] for one in found])
