"""A gated PixelCNN: two stacks of convolutions see the pixels before (van den Oord et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.autoregressive import Autoregressive, OutputsAlong

ALL = slice(None)
HELD = 12  # tensors as large as a stack that a pass holds at once, at most


class PixelCNN(Autoregressive):
    """A vertical stack sees the rows above, a horizontal one what is left of a pixel (arXiv:1606.05328).

    What is seen is shifted once, down by a row for the vertical stack and to the right by a column for the
    horizontal one; from there on a convolution may see its own place too. Zeros are padded on one side, so
    no weight is masked and no product is wasted. Both stacks have residual connections, gates without the
    paper's tanh, and know where a pixel is: each map of the first layer has a bias for every row and column.

    Args:
        likelihood: of a pixel.
        shape: C, H, W of the images.
        maps: of each stack.
        layers: of both stacks, after the first.
        kernel: the width of their convolutions, odd.
        first_kernel: that of the first layer.

    Raises:
        SettingError: maps or layers are no counts, or a kernel is not odd or below 3.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        shape: tuple[int, int, int],
        maps: int,
        layers: int,
        kernel: int,
        first_kernel: int,
    ) -> None:
        require_count("maps", maps)
        require_count("layers", layers)
        for key, value in {"kernel": kernel, "first_kernel": first_kernel}.items():
            odd = type(value) is int and value >= 3 and value % 2 == 1
            require(odd, key, value, "must be an odd number, at least 3")
        _, height, width = shape
        super().__init__(likelihood, shape, held=HELD * maps * height * width)
        self.reach, self.first_reach = kernel // 2, first_kernel // 2
        self.first_above = nn.Conv2d(self.features, maps, (self.first_reach, first_kernel))
        self.first_left = nn.Conv2d(self.features, maps, (1, self.first_reach))
        self.of_rows = nn.Parameter(0.1 * torch.randn(2, maps, height, 1))
        self.of_columns = nn.Parameter(0.1 * torch.randn(2, maps, 1, width))
        gated = nn.ModuleList(GatedLayer(maps, self.reach) for _ in range(layers))
        self.layers = cast("Sequence[GatedLayer]", gated)
        self.last = nn.Sequential(
            *(nn.ReLU(), nn.Conv2d(maps, 2 * maps, 1)),
            *(nn.ReLU(), nn.Conv2d(2 * maps, likelihood.output_channels, 1)),
        )

    @override
    def outputs_of(self, seen: Tensor) -> Tensor:
        """Return the likelihood's outputs [B, P*C, H, W] of what is seen, [B, F, H, W]."""
        above, left = self._above(seen, ALL), self._left(seen, ALL, ALL)
        for layer in self.layers:
            above = layer.down(above)
            left = layer.right(left, layer.across(above))
        outputs: Tensor = self.last(left)
        return outputs

    @override
    def along(self, levels: Tensor, row: int) -> OutputsAlong:
        """Return a function that computes, in each layer, only what the layers after it can still reach."""
        reaches = [self.reach * layers for layers in range(len(self.layers), 0, -1)]
        furthest = reaches[0] + self.first_reach
        rows = slice(max(0, row - furthest), row + 1)
        above, across = self._above(self.seen(levels[..., rows, :]), rows), []
        for layer, reach in zip(self.layers, reaches, strict=True):
            above = layer.down(above[..., -reach - 1 :, :])
            across.append(layer.across(above[..., -1:, :]))

        def outputs_at(levels: Tensor, column: int) -> Tensor:
            here, columns = slice(row, row + 1), slice(max(0, column - furthest), column + 1)
            left = self._left(self.seen(levels[..., here, columns]), here, columns)
            for layer, said, reach in zip(self.layers, across, reaches, strict=True):
                said = said[..., max(0, column - reach) : column + 1]
                left = layer.right(left[..., -reach - 1 :], said)
            outputs: Tensor = self.last(left[..., -1:])
            return outputs

        return outputs_at

    def _above(self, seen: Tensor, rows: slice) -> Tensor:
        """Return the first maps of the vertical stack for what is seen of some rows, [B, M, h, W]."""
        reach = self.first_reach
        maps = self.first_above(F.pad(seen, (reach, reach, reach, -1)))
        return _placed(maps, self.of_rows[0][:, rows] + self.of_columns[0])

    def _left(self, seen: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return the first maps of the horizontal stack for what is seen of some places, [B, M, h, w]."""
        maps = self.first_left(F.pad(seen, (self.first_reach, -1, 0, 0)))
        return _placed(maps, self.of_rows[1][:, rows] + self.of_columns[1][..., columns])


class GatedLayer(nn.Module):
    """A layer of both stacks, with residual connections in both (arXiv:1606.05328, figure 2).

    Args:
        maps: M of each stack.
        reach: how far its convolutions see.
    """

    def __init__(self, maps: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.from_above = nn.Conv2d(maps, 2 * maps, (reach + 1, 2 * reach + 1))
        self.from_left = nn.Conv2d(maps, 2 * maps, (1, reach + 1))
        self.across = nn.Conv2d(maps, 2 * maps, 1, bias=False)
        self.after = nn.Conv2d(maps, maps, 1)

    def down(self, above: Tensor) -> Tensor:
        """Return the vertical stack after this layer, [B, M, H, W]: a place sees its row and those above."""
        reach = self.reach
        return above + _gated(self.from_above(F.pad(above, (reach, reach, reach, 0))))

    def right(self, left: Tensor, across: Tensor) -> Tensor:
        """Return the horizontal stack after this layer, [B, M, H, W]: a place sees itself and its left.

        Args:
            left: the stack before.
            across: what the vertical stack adds to the gates, [B, 2 M, H, W].
        """
        gates = self.from_left(F.pad(left, (self.reach, 0, 0, 0))) + across
        change: Tensor = self.after(_gated(gates))
        return left + change


def _gated(maps: Tensor) -> Tensor:
    values, gates = maps.chunk(2, 1)
    return values * gates.sigmoid()


def _placed(maps: Tensor, places: Tensor) -> Tensor:
    """Return maps that know where they are, in the layout in which convolutions are fastest on a CPU."""
    return (maps + places).contiguous(memory_format=torch.channels_last)
