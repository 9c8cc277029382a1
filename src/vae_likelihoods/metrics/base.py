"""The contract of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_likelihoods.models.vae import VAE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What a metric found.

    Attributes:
        values: numbers, or lists of numbers (one a latent), by name; the unit is in the name.
        per_image: arrays [N] by name, one number for every image of the split.
    """

    values: dict[str, float | list[float]]
    per_image: dict[str, Floats] = field(default_factory=dict)


class Metric(ABC):
    """Measures a model on one split; everything random comes from `noise`."""

    @abstractmethod
    def __call__(self, model: VAE, levels: Tensor, noise: torch.Generator) -> Measured:
        """Measure `model` on levels [N, C, H, W], uint8, on the model's device."""


def in_batches(levels: Tensor, size: int) -> Iterator[Tensor]:
    """Yield levels in batches of at most `size` images."""
    yield from levels.split(max(1, size))


def numpy(parts: list[Tensor]) -> Floats:
    """Concatenate batches of results along the images, in float64 on the CPU."""
    array: Floats = torch.cat(parts).double().cpu().numpy()
    return array
