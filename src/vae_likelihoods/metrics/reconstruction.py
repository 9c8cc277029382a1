"""How far the mean of the likelihood lies from the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Measured, Metric, averaged, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.measures.similarity import structural_similarity
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import Quantity


@dataclass(frozen=True)
class Reconstruction(Metric):
    """Squared error, mean over pixels, and SSIM of E[x | z] at the posterior's mean; pixels in [0, 1].

    Args:
        batch_size: images decoded at once.
    """

    batch_size: int

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        errors, similarities = [], []
        for batch in in_batches(data.test.images, self.batch_size):
            rebuilt, points = (
                model.likelihood.mean(model.decode(model.posterior(batch).mean)),
                model.points(batch),
            )
            errors.append((rebuilt - points).square().flatten(1).mean(1))
            similarities.append(structural_similarity(rebuilt, points))
        return Measured(
            {
                "squared_error": averaged(numpy(errors), Quantity("squared error per pixel"), "lower"),
                "ssim": averaged(numpy(similarities), Quantity("structural similarity"), "higher"),
            }
        )
