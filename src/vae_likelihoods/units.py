"""The one place that knows units: what every stored number carries, and which numbers may be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

from vae_likelihoods.errors import SettingError, require, require_count, under

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
    """What is measured, and how; the part of a `Unit` that does not depend on the images.

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
        named = isinstance(self.measure, str) and self.measure != ""
        require(named, "measure", repr(self.measure), "needs words such as 'nats per image'")
        scales = (*get_args(Scale), None)
        require(self.scale in scales, "scale", self.scale, "no such scale", scales)
        if self.importance_samples is not None:
            require_count("importance_samples", self.importance_samples)

    def on(self, split: Split, dimensions: int, levels: int) -> Unit:
        """Return the unit of this quantity, measured on a split of images."""
        return Unit(**vars(self), split=split, dimensions=dimensions, levels=levels)


@dataclass(frozen=True, kw_only=True)
class Unit(Quantity):
    """What a stored number carries: a `Quantity`, and the images that it was measured on.

    Args:
        split: which images.
        dimensions: D, pixels times channels of an image.
        levels: K, the values that a pixel can take.

    Raises:
        SettingError: a field has a value that cannot be.
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
    def from_dict(cls, found: Any) -> Unit:
        """Read what `to_dict` returned.

        Raises:
            SettingError: it is no mapping, lacks a field, has another one, or a value that cannot be.
        """
        names = sorted(field.name for field in fields(cls))
        known = isinstance(found, Mapping) and sorted(found) == names
        require(known, "unit", found, f"needs exactly the fields {', '.join(names)}")
        with under("unit"):
            return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, by name, sorted."""
        return dict(sorted(vars(self).items()))

    def __str__(self) -> str:
        draws = None if self.importance_samples is None else f"k={self.importance_samples}"
        facts = (self.scale, self.split, f"D={self.dimensions}", f"K={self.levels}", draws)
        return f"{self.measure} ({', '.join(fact for fact in facts if fact)})"


def plain(units: Mapping[str, Unit]) -> dict[str, dict[str, Any]]:
    """Return units as plain data, sorted: the same bytes whatever their order was."""
    return {name: units[name].to_dict() for name in sorted(units)}


class Row(NamedTuple):
    """What must be the same in all rows of a table or ranking."""

    name: str
    facts: Mapping[str, Any]  # what the row says of itself: data set, hash of the images, ...
    units: Mapping[str, Unit]  # of its numbers, by name


class UnlikeUnits(SettingError):  # noqa: N818 - reads as what is wrong
    """Numbers that cannot stand in one table or ranking."""


def require_alike(key: str, value: Any, rows: Sequence[Row]) -> None:
    """Refuse rows that cannot be compared with each other; `key` and `value` say what gathers them.

    Raises:
        UnlikeUnits: naming every field that differs, its values, and the first row with each of them.
    """
    if found := differing(rows):
        said = "; ".join(
            f"{field}: {', '.join(f'{given} ({row})' for given, row in values.items())}"
            for field, values in found.items()
        )
        raise UnlikeUnits(key, value, f"unlike units cannot stand in one table or ranking. {said}")


def differing(rows: Sequence[Row]) -> dict[str, dict[Any, str]]:
    """Return for each field that differs between `rows` its values, and the first row with each of them.

    A field that differs in the same way in the units of several numbers is named once.
    """
    flat = [(row.name, _flat(row)) for row in rows]
    alike: dict[tuple[Any, ...], list[str]] = {}
    for field, number in dict.fromkeys(place for _, said in flat for place in said):
        values: dict[Any, str] = {}
        for row, said in flat:
            values.setdefault(said.get((field, number)), row)
        if len(values) > 1:
            alike.setdefault((field, *values.items()), []).append(number)
    return {_label(field, numbers): dict(values) for (field, *values), numbers in alike.items()}


def _flat(row: Row) -> dict[tuple[str, str], Any]:
    """Return (field, number) -> value; the number is empty for what the row says of itself."""
    of_units = {
        (field, name): value for name, unit in row.units.items() for field, value in vars(unit).items()
    }
    return {(name, ""): fact for name, fact in row.facts.items()} | of_units


def _label(field: str, numbers: list[str]) -> str:
    """Return the field's name, and whose it is unless the row says it of itself."""
    return field if "" in numbers else f"{field} of {', '.join(numbers)}"
