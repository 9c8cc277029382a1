"""MADE: one masked network gives every pixel's distribution from the pixels before (Germain et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.autoregressive import Autoregressive, OutputsAlong

ALL = slice(None)


class MADE(Autoregressive):
    """A network of masked linear layers and ReLUs (arXiv:1502.03509, section 4).

    A hidden unit has a degree d: it sees the first d pixels, in raster order, all their channels. The
    outputs of pixel i, counted from 0, see units of degree at most i. Degrees are spread evenly, so with
    N - 1 units or more in each layer, of N pixels, each pixel has units that see all pixels before it. If
    asked for, what is seen also has direct connections to the outputs, as in the paper.

    Args:
        likelihood: of a pixel.
        shape: C, H, W of the images.
        hidden: the widths of the hidden layers.
        direct: whether there are direct connections.

    Raises:
        SettingError: hidden is no list of widths, or direct is not true or false.
    """

    def __init__(
        self, likelihood: Likelihood, shape: tuple[int, int, int], hidden: Sequence[int], direct: bool
    ) -> None:
        usable = isinstance(hidden, Sequence) and len(hidden) > 0
        usable = usable and all(type(width) is int and width > 0 for width in hidden)
        require(usable, "hidden", hidden, "must be a list of widths, each at least 1, such as [500,500]")
        require(type(direct) is bool, "direct", direct, "must say whether there are", [True, False])
        super().__init__(likelihood, shape, held=2 * max(hidden))
        pixels = torch.arange(shape[1] * shape[2])
        inputs = pixels.repeat(self.features) + 1  # the degree of pixel i is i + 1
        outputs = pixels.repeat(likelihood.output_channels)
        degrees = [inputs, *(_spread(len(pixels), width) for width in hidden)]
        self.hidden = nn.ModuleList(MaskedLinear(before, after) for before, after in pairwise(degrees))
        self.last = MaskedLinear(degrees[-1], outputs)
        self.direct = MaskedLinear(inputs, outputs, bias=False) if direct else None

    @property
    @override
    def parameter_count(self) -> int:
        """How many numbers were learned: those behind a mask are not."""
        masked = sum(
            int((layer.mask == 0).sum()) for layer in self.modules() if isinstance(layer, MaskedLinear)
        )
        return super().parameter_count - masked

    @override
    def outputs_of(self, seen: Tensor) -> Tensor:
        """Return the likelihood's outputs [B, P*C, H, W] of what is seen, [B, F, H, W]."""
        return torch.unflatten(self._outputs(seen, ALL), -1, (-1, *self.shape[1:]))

    @override
    def along(self, levels: Tensor, row: int) -> OutputsAlong:
        """Return a function that computes the needed units of the last layers only."""
        _, height, width = self.shape

        def outputs_at(levels: Tensor, column: int) -> Tensor:
            units = slice(row * width + column, None, height * width)
            return self._outputs(self.seen(levels), units)[..., None, None]

        return outputs_at

    def _outputs(self, seen: Tensor, units: slice) -> Tensor:
        """Return some of the outputs, which are ordered as in an image: [B, n]."""
        inputs = seen.flatten(1)
        hidden = inputs
        for layer in self.hidden:
            hidden = F.relu(layer(hidden))
        outputs: Tensor = self.last(hidden, units)
        return outputs if self.direct is None else outputs + self.direct(inputs, units)


class MaskedLinear(nn.Linear):
    """A linear layer whose unit of degree d sees the inputs of degrees up to d.

    Args:
        inputs: their degrees, [I].
        outputs: their degrees, [O].
        bias: whether a bias is added.
    """

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor, bias: bool = True) -> None:
        super().__init__(len(inputs), len(outputs), bias)
        self.register_buffer("mask", outputs.unsqueeze(1) >= inputs, persistent=False)

    @override
    def forward(self, x: Tensor, units: slice = ALL) -> Tensor:
        """Return the outputs of some units, [B, n], for inputs [B, I]."""
        bias = None if self.bias is None else self.bias[units]
        return F.linear(x, self.weight[units] * self.mask[units], bias)


def _spread(pixels: int, width: int) -> Tensor:
    """Return degrees from 1 to `pixels` - 1, spread evenly over a layer, [width]."""
    return torch.linspace(1, max(1, pixels - 1), width).round().long()
