"""The network that suits the images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.mlp import check_widths, mlp
from vae_likelihoods.networks.resnet import resnet

MOST_PIXELS = 1024
"""Pixels times channels of an image up to which a fully connected network does: 32 x 32 in grey."""


def auto(shape: Sequence[int], latent_dim: int, output_channels: int, hidden: Sequence[int]) -> Networks:
    """Build `mlp` with the widths `hidden` for small images, `resnet` with its default widths for others.

    Raises:
        SettingError: if `hidden` is empty or has a width below 1.
    """
    check_widths(hidden)
    if math.prod(shape) <= MOST_PIXELS:
        return mlp(shape, latent_dim, output_channels, hidden)
    return resnet(shape, latent_dim, output_channels)
