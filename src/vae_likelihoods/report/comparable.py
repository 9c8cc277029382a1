"""Which cells may stand in one table or ranking: those with the same units, measured on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report.records import BITS_SCORE
from vae_likelihoods.report.words import shortened
from vae_likelihoods.units.quantity import Unit

SAME = ("study", "dataset", "test_sha256")
"""What must be the same in all rows, beside the units: they say on which images a cell was measured."""

_CLAUSES = 2  # differences that a refusal names
_VALUES = 3  # values of each


class Row(NamedTuple):
    """What must be the same in all rows of a table or ranking."""

    name: str
    facts: Mapping[str, Any]  # data set, hash of the images, ...
    units: Mapping[str, Unit]  # of its numbers, by name


class UnlikeUnits(SettingError):  # noqa: N818 - reads as what is wrong
    """Numbers that cannot stand in one table or ranking."""


def require_comparable(cells: pd.DataFrame) -> None:
    """Refuse rows of `summary.collect` unless they are of one study, in the same units, on the same images.

    Raises:
        UnlikeUnits: naming what differs, the values, and a cell with each of them.
    """
    study = ", ".join(dict.fromkeys(map(str, cells["study"])))
    require_alike("study", study, [_row(cell) for cell in cells.to_dict("records")])


def require_alike(key: str, value: Any, rows: Sequence[Row]) -> None:
    """Refuse rows that cannot be compared with each other; `key` and `value` say what they have in common.

    Raises:
        UnlikeUnits: in one short line, naming fields that differ, values, and a row with each of them.
    """
    if differences := differing(rows):
        clauses = [_clause(field, values) for field, values in differences.items()]
        text = "; ".join(clauses[:_CLAUSES])
        more = len(clauses) - _CLAUSES
        rest = f"; and {more} more differences" if more > 0 else ""
        reason = f"unlike units cannot stand in one table or ranking. {text}{rest}"
        raise UnlikeUnits(key, value, reason)


def differing(rows: Sequence[Row]) -> dict[str, dict[Any, str]]:
    """Return for each field that differs between `rows` its values, and the first row with each of them.

    Units are compared among the rows that have the number. A field that differs in the same way in the units
    of several numbers is named once.
    """
    first: dict[tuple[str, str], dict[Any, str]] = {}  # (field, number) -> value -> row
    for row in rows:
        for place, value in _fields(row):
            first.setdefault(place, {}).setdefault(value, row.name)
    for place in [place for place in first if place[1] == ""]:  # a row that lacks a fact differs
        for row in rows:
            first[place].setdefault(row.facts.get(place[0]), row.name)
    alike: dict[tuple[Any, ...], list[str]] = {}
    for (field, number), values in first.items():
        if len(values) > 1:
            alike.setdefault((field, *values), []).append(number)
    return {_label(field, numbers): first[field, numbers[0]] for (field, *_), numbers in alike.items()}


def _row(cell: Mapping[Any, Any]) -> Row:
    """Return what must be the same in all cells."""
    units = {name: each.unit for name, each in cell["declarations"].items() if each.unit}
    own = units[BITS_SCORE].to_dict()
    del own["measure"]  # it is compared as the others are
    return Row(f"{cell['study']}/{cell['cell']}", {**{name: cell[name] for name in SAME}, **own}, units)


def _fields(row: Row) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield (field, number) and the value; the number is empty for a fact of the row."""
    yield from (((name, ""), fact) for name, fact in row.facts.items())
    for number, unit in row.units.items():
        yield from (((field, number), value) for field, value in vars(unit).items())


def _label(field: str, numbers: Sequence[str]) -> str:
    """Return the field's name, and the numbers that it belongs to unless it is a fact of the rows."""
    return field if "" in numbers else f"{field} of {shortened(numbers)}"


def _clause(field: str, values: Mapping[Any, str]) -> str:
    examples = [f"{value} ({row})" for value, row in list(values.items())[:_VALUES]]
    return f"{field}: {', '.join(examples)}{', ...' if len(values) > _VALUES else ''}"
