"""What every network returns: an encoder and a decoder that fit each other."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

Shape = tuple[int, int, int]  # C, H, W


class Networks(NamedTuple):
    """The two halves of an autoencoder.

    A network is a function that is called with the ``shape`` (C, H, W) of the image, ``latent_dim`` L and
    ``output_channels`` P*C, and returns this pair.

    Attributes:
        encoder: points in [0, 1], [B, C, H, W] -> posterior parameters [B, 2 L].
        decoder: latents [B, L] -> likelihood parameters [B, P*C, H, W].
    """

    encoder: nn.Module
    decoder: nn.Module
