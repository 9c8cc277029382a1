"""Models whose pixels follow each other in raster order, the first of the top row first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.base import Head
from vae_likelihoods.models.blocks import BYTES, OF_IMAGES, OF_OUTPUTS

OutputsAlong = Callable[[Tensor, int], Tensor]
"""Returns the outputs [B, P*C, 1, 1] of a pixel of one row, given the images and the pixel's column."""


class Autoregressive(Head):
    """p(x) = prod_i p(x_i | outputs_i), where outputs_i is a function of the pixels before i in raster order.

    The channels of a pixel have one likelihood together, given all channels of the pixels before.

    Args:
        likelihood: of a pixel.
        shape: C, H, W of the images.
        held: how many numbers of an image its network holds at once.
    """

    def __init__(self, likelihood: Likelihood, shape: tuple[int, int, int], held: int) -> None:
        super().__init__(likelihood, shape)
        self.held = held

    @property
    def features(self) -> int:
        """How many maps `seen` returns: C for two levels, else 2 C."""
        return self.channels if self.levels == 2 else 2 * self.channels

    def seen(self, levels: Tensor) -> Tensor:
        """Return what networks see of each pixel alone, [B, F, H, W].

        These are its points about 0, and if there are more than two levels, whether it is black. Black
        pixels are many and alike, and from a point alone a network cannot tell level 0 from level 1.
        """
        points = self.points(levels)
        maps = [points - 0.5] if self.levels == 2 else [points - 0.5, (levels == 0).to(points)]
        return torch.cat(maps, 1)

    @abstractmethod
    def outputs_of(self, seen: Tensor) -> Tensor:
        """Return the likelihood's outputs [B, P*C, H, W] of what is seen of all pixels, [B, F, H, W]."""

    @override
    def forward(self, levels: Tensor) -> Tensor:
        """Return the likelihood's outputs [B, P*C, H, W], those of a pixel from the pixels before alone."""
        return self.outputs_of(self.seen(levels))

    @abstractmethod
    def along(self, levels: Tensor, row: int) -> OutputsAlong:
        """Return a function that gives the outputs of a pixel of this row, from the pixels before alone.

        It is called with the same images, in which the pixels of the row may have changed since; what the
        rows above say is computed once.
        """

    def outputs_at(self, levels: Tensor, row: int, column: int) -> Tensor:
        """Return `forward` at one pixel, [B, P*C, 1, 1], for less than a whole pass."""
        return self.along(levels, row)(levels, column)

    @override
    @torch.no_grad()
    def complete(self, levels: Tensor, rows: int, noise: torch.Generator) -> Tensor:
        """Return images [B, C, H, W], uint8, whose first `rows` rows are given: the rest is drawn from p."""
        images = levels.to(torch.uint8, copy=True)
        _, height, width = self.shape
        for row in range(rows, height):
            outputs_at = self.along(images, row)
            for column in range(width):
                drawn = self.likelihood.sample(outputs_at(images, column), noise)
                images[..., row, column] = drawn[..., 0, 0]
        return images

    @override
    def images_at_once(self) -> int:
        """Return how many images may be scored at once, at least 1."""
        channels, height, width = self.shape
        of_pixel = OF_OUTPUTS * self.likelihood.output_channels + OF_IMAGES * channels
        numbers = self.held + height * width * of_pixel
        return max(1, min(super().images_at_once(), BYTES // (numbers * self.dtype.itemsize)))
