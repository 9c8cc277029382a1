"""Units: what a number measures, and on which images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from vae_likelihoods.errors import require, require_count, under

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Scale = Literal["mass", "density"]
Split = Literal["train", "validation", "test"]
Nats = TypeVar("Nats", float, "NDArray[np.float64]", "Tensor")

NATS = "nats per image"
BITS = "bits per dimension"


def bits_per_dim(nats: Nats, dimensions: int) -> Nats:
    """Return nats / (D ln 2): nats per image as bits per dimension, D = pixels times channels.

    Example:
        >>> bits_per_dim(784 * math.log(256), 784)  # a uniform pmf over 256 levels
        8.0
    """
    return nats / (dimensions * math.log(2))


@dataclass(frozen=True)
class Quantity:
    """What is measured, and how: the part of a `Unit` that does not depend on the images.

    Args:
        measure: what one unit of the number is, such as `NATS`, `BITS` or ``latents``.
        scale: ``mass`` or ``density`` for a log-probability of images; None for all else, a rate too.
        importance_samples: k, how many z ~ q(z | x) are drawn for each image; None where none are. The
            importance-weighted bound rises with k; in a distortion, and so in an ELBO, k is noise alone.
    """

    measure: str
    scale: Scale | None = None
    importance_samples: int | None = None

    def __post_init__(self) -> None:
        in_words = isinstance(self.measure, str) and self.measure != ""
        require(in_words, "measure", repr(self.measure), "needs words such as 'nats per image'")
        scales = (*get_args(Scale), None)
        require(self.scale in scales, "scale", self.scale, "no such scale", scales)
        if self.importance_samples is not None:
            require_count("importance_samples", self.importance_samples)

    def on(self, split: Split, dimensions: int, levels: int) -> Unit:
        """Return the unit of this quantity, measured on a split of images."""
        return Unit(**vars(self), split=split, dimensions=dimensions, levels=levels)


@dataclass(frozen=True, kw_only=True)
class Unit(Quantity):
    """The unit of a stored number: a `Quantity`, and the images that it was measured on.

    Args:
        split: which images.
        dimensions: D, pixels times channels of an image.
        levels: K, the values that a pixel can take.

    Raises:
        SettingError: a field has a value that is not allowed.
    """

    split: Split
    dimensions: int
    levels: int

    def __post_init__(self) -> None:
        super().__post_init__()
        splits = get_args(Split)
        require(self.split in splits, "split", self.split, "no such split", splits)
        require_count("dimensions", self.dimensions)
        require_count("levels", self.levels, least=2)

    @classmethod
    def from_dict(cls, stored: Any) -> Unit:
        """Read what `to_dict` returned.

        Raises:
            SettingError: it is not a mapping, lacks a field, has another one, or a value that is not allowed.
        """
        names = sorted(field.name for field in fields(cls))
        complete = isinstance(stored, Mapping) and sorted(stored) == names
        require(complete, "unit", stored, f"needs exactly the fields {', '.join(names)}")
        with under("unit"):
            return cls(**stored)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, by name, sorted."""
        return dict(sorted(vars(self).items()))

    def __str__(self) -> str:
        draws = None if self.importance_samples is None else f"k={self.importance_samples}"
        facts = (self.scale, self.split, f"D={self.dimensions}", f"K={self.levels}", draws)
        return f"{self.measure} ({', '.join(fact for fact in facts if fact)})"
