"""Fully connected encoder and decoder; the decoder mirrors the encoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from vae_likelihoods.errors import require
from vae_likelihoods.networks.base import Networks


def mlp(shape: Sequence[int], latent_dim: int, output_channels: int, hidden: Sequence[int]) -> Networks:
    """Build an MLP encoder with the widths `hidden` and a decoder with the same widths reversed.

    Raises:
        SettingError: if `hidden` is empty or has a width below 1.
    """
    check_widths(hidden)
    _, height, width = shape
    outputs = (output_channels, height, width)
    return Networks(
        encoder=nn.Sequential(nn.Flatten(), *_stack([math.prod(shape), *hidden, 2 * latent_dim])),
        decoder=nn.Sequential(
            *_stack([latent_dim, *reversed(hidden), math.prod(outputs)]), nn.Unflatten(-1, outputs)
        ),
    )


def check_widths(hidden: Sequence[int]) -> None:
    """Refuse an empty list of widths, and a width below 1 (SettingError)."""
    usable = isinstance(hidden, Sequence) and len(hidden) > 0 and all(width > 0 for width in hidden)
    require(usable, "hidden", hidden, "must be a list of widths, each at least 1, such as [256,256]")


def _stack(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return layers[:-1]
