"""The contract of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.precision import precise
from vae_likelihoods.units.declaration import Declaration

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Missing:
    """In place of a declared number that these images, or this model, do not have.

    Args:
        reason: why, in a few words that can stand in brackets.
    """

    reason: str


Value = float | list[float] | Floats | Missing
"""A number, a list with a number for each latent, or an array [N] with a number for each test image."""
Values = Mapping[str, Value]


class Metric(ABC):
    """Measures a trained model on the test split: declares its numbers, and returns their values by name.

    Attributes:
        of: the kind of models that it measures; of others its numbers are missing.
    """

    of: ClassVar[type] = VAE

    @abstractmethod
    def declarations(self, levels: int) -> Sequence[Declaration]:
        """Return a declaration for each number that it may measure on images of K = `levels` levels."""

    @abstractmethod
    def __call__(self, model: Any, data: Data, noise: torch.Generator) -> Values:
        """Return the values of the declared numbers; in place of one that cannot be, `Missing` and why.

        A number that is not finite is missing too. An array [N] must be in the order of the test split. Its
        mean is the number, and the array becomes a column of per_image.csv.

        Args:
            model: of the kind `of`, on the device of the data.
            data: the data set at K levels.
            noise: the only source of random numbers.
        """

    def without(self, data: Data, reason: Missing) -> Values:
        """Return all declared numbers as missing, for one reason."""
        return {declaration.name: reason for declaration in self.declarations(data.levels)}


@dataclass(frozen=True)
class Measured:
    """The values of a metric, as they are stored.

    Args:
        values: by name, the mean of each array.
        per_image: the arrays [N] by name.
        missing: why a number is missing, by name.
    """

    values: dict[str, float | list[float]]
    per_image: dict[str, Floats]
    missing: dict[str, str]

    @classmethod
    def of(cls, values: Values) -> Self:
        """Split what a metric returned; a number that is not finite is missing."""
        numbers: dict[str, float | list[float]] = {}
        arrays: dict[str, Floats] = {}
        missing: dict[str, str] = {}
        for name, value in values.items():
            if isinstance(value, Missing):
                missing[name] = value.reason
            elif not np.isfinite(value).all():
                missing[name] = _not_finite(value)
            elif isinstance(value, np.ndarray):
                numbers[name], arrays[name] = float(value.mean()), value
            else:
                numbers[name] = value
        return cls(numbers, arrays, missing)


def _not_finite(value: float | list[float] | Floats) -> str:
    if not isinstance(value, np.ndarray):
        return f"it came out as {value}"
    return f"it is not finite for {np.count_nonzero(~np.isfinite(value))} of {len(value)} images"


def in_batches(levels: Tensor, size: int) -> Iterator[Tensor]:
    """Yield levels in batches of at most `size` images."""
    yield from levels.split(max(1, size))


def numpy(parts: list[Tensor]) -> Floats:
    """Concatenate batches of results along the images, in float64 on the CPU."""
    array: Floats = precise(torch.cat(parts)).cpu().numpy()
    return array
