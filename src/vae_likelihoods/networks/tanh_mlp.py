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

    Weights are uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010). The encoder's last
    layer gives means and log-scales, as the two heads of Burda et al. 2016 (arXiv:1509.00519, section 5) do,
    and each head is drawn as a layer of its own.

    Raises:
        SettingError: if `hidden` is empty or has a width below 1.
    """
    check_widths(hidden)
    _, height, width = shape
    outputs = (output_channels, height, width)
    heads = _affine(hidden[-1], 2 * latent_dim, heads=2)
    back = [latent_dim, *reversed(hidden)]
    return Networks(
        encoder=nn.Sequential(nn.Flatten(), *_stack([math.prod(shape), *hidden]), heads),
        decoder=nn.Sequential(
            *_stack(back), _affine(back[-1], math.prod(outputs)), nn.Unflatten(-1, outputs)
        ),
    )


def _stack(widths: Sequence[int]) -> list[nn.Module]:
    return [
        layer
        for wide_in, wide_out in itertools.pairwise(widths)
        for layer in (_affine(wide_in, wide_out), nn.Tanh())
    ]


def _affine(wide_in: int, wide_out: int, heads: int = 1) -> nn.Linear:
    layer = nn.Linear(wide_in, wide_out)
    bound = math.sqrt(6 / (wide_in + wide_out // heads))
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer
