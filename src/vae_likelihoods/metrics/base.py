"""The contract of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.precision import precise
from vae_likelihoods.units.declaration import Declaration

Floats = NDArray[np.float64]
Value = float | list[float] | Floats
"""A number, a list with a number for each latent, or an array [N] with a number for each test image."""
Values = Mapping[str, Value]


class Metric(ABC):
    """Measures a trained model on the test split: declares its numbers, and returns their values by name."""

    @abstractmethod
    def declarations(self, levels: int) -> Sequence[Declaration]:
        """Return a declaration for each number that it may measure on images of K = `levels` levels."""

    @abstractmethod
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        """Return the values of the declared numbers; one that does not exist for this model is left out.

        An array [N] must be in the order of the test split. Its mean is the number, and the array becomes a
        column of per_image.csv.

        Args:
            model: on the device of the data.
            data: the data set at K levels.
            noise: the only source of random numbers.
        """


@dataclass(frozen=True)
class Measured:
    """The values of a metric, as they are stored.

    Args:
        values: by name, the mean of each array.
        per_image: the arrays [N] by name.
    """

    values: dict[str, float | list[float]]
    per_image: dict[str, Floats]

    @classmethod
    def of(cls, values: Values) -> Self:
        """Split what a metric returned."""
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        numbers = {
            name: float(value.mean()) if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }
        return cls(numbers, arrays)


def in_batches(levels: Tensor, size: int) -> Iterator[Tensor]:
    """Yield levels in batches of at most `size` images."""
    yield from levels.split(max(1, size))


def numpy(parts: list[Tensor]) -> Floats:
    """Concatenate batches of results along the images, in float64 on the CPU."""
    array: Floats = precise(torch.cat(parts)).cpu().numpy()
    return array
