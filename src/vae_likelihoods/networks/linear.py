"""An affine encoder and an affine decoder: with a Gaussian likelihood this VAE is probabilistic PCA."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from vae_likelihoods.networks.base import Networks


def linear(shape: Sequence[int], latent_dim: int, output_channels: int) -> Networks:
    """Build an affine encoder and decoder (Lucas et al. 2019, "Don't blame the ELBO!")."""
    _, height, width = shape
    outputs = (output_channels, height, width)
    return Networks(
        encoder=nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2 * latent_dim)),
        decoder=nn.Sequential(nn.Linear(latent_dim, math.prod(outputs)), nn.Unflatten(-1, outputs)),
    )
