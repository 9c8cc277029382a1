"""The fully connected networks of Burda et al. (2016): tanh, Glorot's initial weights, biases of 0."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.mlp import check_widths


def tanh_mlp(shape: Sequence[int], latent_dim: int, output_channels: int, hidden: Sequence[int]) -> Networks:
    """Build an encoder with the widths `hidden`, and a decoder with the same widths reversed.

    Initial weights are uniform within +-sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010). The last layer
    of the encoder gives means and log-scales, like the two heads of Burda et al. 2016 (arXiv:1509.00519,
    section 5), and the weights of each head are drawn as those of a separate layer.

    Raises:
        SettingError: if `hidden` is empty or has a width below 1.
    """
    check_widths(hidden)
    _, height, width = shape
    outputs = (output_channels, height, width)
    heads = _affine(hidden[-1], 2 * latent_dim, heads=2)
    widths = [latent_dim, *reversed(hidden)]  # of the decoder
    return Networks(
        encoder=nn.Sequential(nn.Flatten(), *_stack([math.prod(shape), *hidden]), heads),
        decoder=nn.Sequential(
            *_stack(widths), _affine(widths[-1], math.prod(outputs)), nn.Unflatten(-1, outputs)
        ),
    )


def _stack(widths: Sequence[int]) -> list[nn.Module]:
    return [
        layer
        for width_in, width_out in itertools.pairwise(widths)
        for layer in (_affine(width_in, width_out), nn.Tanh())
    ]


def _affine(width_in: int, width_out: int, heads: int = 1) -> nn.Linear:
    layer = nn.Linear(width_in, width_out)
    bound = math.sqrt(6 / (width_in + width_out // heads))
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer
