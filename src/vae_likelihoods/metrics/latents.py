"""Which latents carry information about the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.metrics.base import Floats, Measured, Metric, Number, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import Quantity


@dataclass(frozen=True)
class Latents(Metric):
    """KL of every latent, and active units (Burda et al. 2016, section 5.2).

    Args:
        threshold: a unit is active when the variance over images of its posterior mean is above this.
        batch_size: images encoded at once.
    """

    threshold: float
    batch_size: int

    def __post_init__(self) -> None:
        require(self.threshold >= 0, "metric.latents.threshold", self.threshold, "must be at least 0")
        require_count("metric.latents.batch_size", self.batch_size)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        means, rates = [], []
        for batch in in_batches(data.test.images, self.batch_size):
            posterior = model.posterior(batch)
            means.append(posterior.mean)
            rates.append(model.rate_per_latent(posterior))
        return Measured(summarise(numpy(means), numpy(rates), self.threshold))


def summarise(means: Floats, rates: Floats, threshold: float) -> dict[str, Number]:
    """Return active units and KL per latent from posterior means [N, L] and rates [N, L] in nats."""
    active = int((means.var(0) > threshold).sum())
    return {
        "active_units": Number(active, Quantity("latents")),
        "kl_per_latent_nats": Number(rates.mean(0).tolist(), Quantity("nats per latent and image")),
    }
