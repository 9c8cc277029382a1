"""Maximum likelihood: what a model that gives p(x) directly is trained with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.models.base import DirectModel
from vae_likelihoods.objectives.base import Objective, Terms


@dataclass(frozen=True)
class MaximumLikelihood(Objective):
    """-log p(x). A model without latent variables has no rate, so nothing is left to choose."""

    @override
    def __call__(self, model: DirectModel, levels: Tensor, noise: object, epoch: int) -> Terms:
        distortion = -model.log_prob(levels)
        return Terms(distortion.mean(), distortion, torch.zeros_like(distortion))
