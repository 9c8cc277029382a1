"""The declaration of a number: its name, meaning, unit and format, wherever it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, Literal, get_args

from vae_likelihoods.errors import SettingError, require, under
from vae_likelihoods.units.quantity import Quantity, Split, Unit

Better = Literal["lower", "higher"]

MISSING = "–"
"""What tables show in place of a number that a cell does not have."""

ITSELF = "itself"
"""The whole of a number that is never near 0."""


@dataclass(frozen=True)
class Declaration:
    """The description of a number, or of a fact such as a name; written once, where the value is made.

    Declarations are stored beside the values (metrics.json, columns.json). Tables, the page, MLflow and the
    check of a reproduction derive from them what they show and how they compare.

    Args:
        name: its key in metrics.json, and its column in summary.csv.
        meaning: one plain sentence, without the unit.
        quantity: what it measures, and how; a `Unit` once the images are known. None for a fact.
        header: of its column in the table of cells; empty: that table leaves it out.
        format: how Python writes it, such as ``.4f``; empty for words and lists.
        better: the direction of a better model; None where neither is.
        exact: whether every machine must find the same value, as for names, settings and counts of
            parameters. Others may differ by a tolerance.
        whole: what this tolerance is relative to: the name of the number of the same cell that this one is
            a part of, or `ITSELF` if it is never near 0. Empty: the largest value in its column.
        short: its name in MLflow, where that is not `name`.
        purpose: what the number helps to choose a model for, such as ``samples``; empty for most.
        baseline: the name of a model without latents whose score the number is; empty for all others.
        point: an axis and a place on it, if the number is the score at that place: ``("levels", 32)``.

    Raises:
        SettingError: a field has a value that is not allowed.
    """

    name: str
    meaning: str
    quantity: Quantity | None = None
    header: str = ""
    format: str = ""
    better: Better | None = None
    _: KW_ONLY
    exact: bool = False
    whole: str = ""
    short: str = ""
    purpose: str = ""
    baseline: str = ""
    point: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        require(bool(self.name), "name", repr(self.name), "needs a name")
        require(bool(self.meaning), "meaning", repr(self.meaning), f"say in a sentence what {self.name} is")
        directions = (*get_args(Better), None)
        require(self.better in directions, "better", self.better, "no such direction", directions)
        try:
            format(0, self.format)
        except (TypeError, ValueError):
            reason = f"is not a format of a number, for {self.name}"
            raise SettingError("format", self.format, reason) from None

    @property
    def unit(self) -> Unit | None:
        """The unit, once the images are known; None for a fact."""
        return self.quantity if isinstance(self.quantity, Unit) else None

    @property
    def in_words(self) -> str:
        """The meaning, the unit and the direction of a better model."""
        direction = f"{self.better} is better" if self.better else ""
        measure = self.quantity.measure if self.quantity else ""
        return "; ".join(part for part in (self.meaning, measure, direction) if part)

    def on(self, split: Split, dimensions: int, levels: int) -> Declaration:
        """Return the same declaration with the unit of a number that was measured on these images."""
        return replace(self, quantity=self.quantity and self.quantity.on(split, dimensions, levels))

    def standard_error(self, name: str = "", short: str = "") -> Declaration:
        """Return the declaration of this number's standard error over images, by default `<name>_se`."""
        name = name or f"{self.name}_se"
        meaning, header = f"standard error of {self.name} over images", f"± {self.header}"
        whole = self.whole if self.whole == ITSELF else ""
        return Declaration(name, meaning, self.quantity, header, self.format, whole=whole, short=short)

    def text(self, value: Any) -> str:
        """Return a value as tables print it; a dash for one that is missing.

        Example:
            >>> images = Declaration("images", "images of the split", format=",d")
            >>> images.text(1500.0), images.text(None)
            ('1,500', '–')
        """
        if value is None or value != value:
            return MISSING
        whole = self.format.endswith("d") and value == int(value)  # pandas makes it a float beside a gap
        return format(int(value) if whole else value, self.format)

    @classmethod
    def from_dict(cls, name: str, stored: Any) -> Declaration:
        """Read what `to_dict` returned.

        Raises:
            SettingError: it is not a mapping, has an unknown field, or a value that is not allowed.
        """
        known = sorted({field.name for field in fields(cls)} - {"name", "quantity"} | {"unit"})
        readable = isinstance(stored, Mapping) and set(stored) <= set(known) and "meaning" in stored
        require(readable, name, stored, f"needs a meaning, and may have {', '.join(known)}")
        rest = {key: value for key, value in stored.items() if key not in ("unit", "point")}
        with under(name):
            unit = Unit.from_dict(stored["unit"]) if "unit" in stored else None
            point = tuple(stored["point"]) if "point" in stored else None
            return cls(name, quantity=unit, point=point, **rest)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that say something as plain data, but for the name."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        unit = {"unit": self.unit.to_dict()} if self.unit else {}
        return {**{key: value for key, value in kept.items() if value and key != "quantity"}, **unit}


def to_plain(declarations: Iterable[Declaration]) -> dict[str, dict[str, Any]]:
    """Return declarations as plain data, by name, in their order."""
    return {declaration.name: declaration.to_dict() for declaration in declarations}


def from_plain(stored: Any) -> dict[str, Declaration]:
    """Read what `to_plain` returned.

    Raises:
        SettingError: it is not a mapping of declarations.
    """
    require(isinstance(stored, Mapping), "declarations", stored, "must be a mapping of names to declarations")
    with under("declarations"):
        return {name: Declaration.from_dict(name, fields) for name, fields in stored.items()}
