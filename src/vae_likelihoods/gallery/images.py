"""The images of the gallery: three splits at K levels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from vae_likelihoods.datasets.manifest import SPLITS
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import levels_of, quantise


@dataclass(frozen=True)
class Images:
    """Three splits of one data set, and K, the number of values that a pixel can have."""

    train: Tensor  # uint8 [N, C, H, W], 0 .. K - 1
    validation: Tensor
    test: Tensor
    levels: int

    @classmethod
    def of(cls, prepared: PreparedDataset) -> Self:
        """Read the splits of `prepared` at native levels."""
        native = prepared.native_levels
        train, validation, test = (levels_of(prepared, split, native).images for split in SPLITS)
        return cls(train, validation, test, native)

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    @property
    def dimensions(self) -> int:
        """D, pixels times channels."""
        return self.train[0].numel()

    def at(self, levels: int) -> Self:
        """Return the same images at fewer levels."""
        train, validation, test = (
            quantise(split, self.levels, levels) for split in (self.train, self.validation, self.test)
        )
        return replace(self, train=train, validation=validation, test=test, levels=levels)

    def points(self, levels: Tensor) -> Tensor:
        """Return levels as the points k / (K - 1) in [0, 1], float64."""
        return levels.double() / (self.levels - 1)

    def pixel_means(self) -> Tensor:
        """Return the mean of every pixel over the train split, float64 [C, H, W]: a decoder without z."""
        return self.points(self.train).mean(0)

    def pixel_logits(self) -> Tensor:
        """Return the logits of `pixel_means`; one grey image is added, so that they are finite."""
        count = len(self.train)
        return torch.logit((count * self.pixel_means() + 0.5) / (count + 1))
