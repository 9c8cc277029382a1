"""The contract of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import Quantity

Floats = NDArray[np.float64]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Number:
    """One number that a metric found, with its unit.

    Args:
        value: a number, or a list of numbers (one a latent).
        quantity: its unit, but for what the images say: their split, D and K.
        per_image: an array [N] in the same unit, one number for every image of the split.
        better: the direction of a better model; None where neither is.
    """

    value: float | list[float]
    quantity: Quantity
    per_image: Floats | None = None
    better: Better | None = None


@dataclass(frozen=True)
class Measured:
    """What a metric found: numbers by name, none without a unit.

    Raises:
        TypeError: something in it is no `Number`.
    """

    numbers: dict[str, Number]

    def __post_init__(self) -> None:
        bare = [name for name, number in self.numbers.items() if not isinstance(number, Number)]
        if bare:
            raise TypeError(
                f"{', '.join(bare)}: a metric returns Number(value, Quantity(...)), so with a unit"
            )

    @property
    def values(self) -> dict[str, float | list[float]]:
        """The values by name."""
        return {name: number.value for name, number in self.numbers.items()}

    @property
    def per_image(self) -> dict[str, Floats]:
        """The arrays [N] by name, of the numbers that have one."""
        found = {name: number.per_image for name, number in self.numbers.items()}
        return {name: array for name, array in found.items() if array is not None}


class Metric(ABC):
    """Measures a model on one split; everything random comes from `noise`."""

    @abstractmethod
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        """Measure `model` on the test split of `data`, which lies on the model's device."""


def in_batches(levels: Tensor, size: int) -> Iterator[Tensor]:
    """Yield levels in batches of at most `size` images."""
    yield from levels.split(max(1, size))


def numpy(parts: list[Tensor]) -> Floats:
    """Concatenate batches of results along the images, in float64 on the CPU."""
    array: Floats = torch.cat(parts).double().cpu().numpy()
    return array


def averaged(per_image: Floats, quantity: Quantity, better: Better | None = None) -> Number:
    """Return the mean over images of [N] numbers, and the numbers with it."""
    return Number(float(per_image.mean()), quantity, per_image, better)
