"""How far the mean of the likelihood lies from the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Metric, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.measures.similarity import structural_similarity
from vae_likelihoods.models.blocks import encoded, means
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import ITSELF, Declaration
from vae_likelihoods.units.quantity import Quantity


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
    def declarations(self, levels: int) -> list[Declaration]:
        error = Declaration(
            "squared_error",
            "squared error of the likelihood's mean, pixels in [0, 1]",
            Quantity("squared error per pixel"),
            "squared error",
            ".4g",
            "lower",
            whole=ITSELF,
            short="sq_error",
            purpose="reconstructions",
        )
        similarity = Quantity("structural similarity")
        meaning = "how similar the likelihood's mean is to the image; 1 for equal images"
        return [error, Declaration("ssim", meaning, similarity, "SSIM", ".3f", "higher")]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        errors, similarities = [], []
        for batch in in_batches(data.test.images, self.batch_size):
            rebuilt = means(model, encoded(model, batch).mean)
            points = model.points(batch)
            errors.append((rebuilt - points).square().flatten(1).mean(1))
            similarities.append(structural_similarity(rebuilt, points))
        return {"squared_error": numpy(errors), "ssim": np.concatenate(similarities)}
