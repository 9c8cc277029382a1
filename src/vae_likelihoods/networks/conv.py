"""Convolutional encoder and decoder for images of 4x4 pixels or more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from vae_likelihoods.errors import require
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.resnet import Grown


def conv(
    shape: Sequence[int], latent_dim: int, output_channels: int, widths: Sequence[int], hidden: int
) -> Networks:
    """Build a strided encoder that halves the size once for each of `widths`, and a decoder that mirrors it.

    Args:
        shape: C, H, W of the images; odd sizes are rounded up when halved, and the decoder restores them.
        latent_dim: L.
        output_channels: P*C.
        widths: feature maps after each halving.
        hidden: width of the dense layer between feature maps and latents.

    Raises:
        SettingError: if `widths` is empty or an argument is below 1.
    """
    usable = isinstance(widths, Sequence) and len(widths) > 0 and all(width > 0 for width in widths)
    require(usable, "widths", widths, "must be a list of numbers of maps, each at least 1, such as [32,64]")
    require(hidden > 0, "hidden", hidden, "must be at least 1")
    channels, height, width = shape
    sizes = [(height, width)]
    for _ in widths:
        sizes.append((_half(sizes[-1][0]), _half(sizes[-1][1])))
    return Networks(
        encoder=_encoder(channels, widths, sizes[-1], hidden, 2 * latent_dim),
        decoder=_decoder(latent_dim, hidden, widths, sizes, output_channels),
    )


def _half(size: int) -> int:
    return (size + 1) // 2


def _encoder(
    channels: int, widths: Sequence[int], last: tuple[int, int], hidden: int, outputs: int
) -> nn.Module:
    layers: list[nn.Module] = []
    for maps_in, maps_out in zip([channels, *widths[:-1]], widths, strict=True):
        layers += [nn.Conv2d(maps_in, maps_out, kernel_size=3, stride=2, padding=1), nn.ReLU()]
    features = widths[-1] * math.prod(last)
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def _decoder(
    latent_dim: int,
    hidden: int,
    widths: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    output_channels: int,
) -> nn.Module:
    first = (widths[-1], *sizes[-1])
    layers: list[nn.Module] = [
        *(nn.Linear(latent_dim, hidden), nn.ReLU()),
        *(nn.Linear(hidden, math.prod(first)), nn.ReLU(), nn.Unflatten(-1, first)),
    ]
    maps = list(reversed(widths))
    targets = list(reversed(sizes[:-1]))
    for maps_in, maps_out, size in zip(maps, [*maps[1:], maps[-1]], targets, strict=True):
        layers += [Grown(size), nn.Conv2d(maps_in, maps_out, kernel_size=3, padding=1), nn.ReLU()]
    layers.append(nn.Conv2d(maps[-1], output_channels, kernel_size=3, padding=1))
    return nn.Sequential(*layers)
