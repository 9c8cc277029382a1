"""Whether a reproduction gives what was committed: the same hashes, or numbers within a tolerance.

Compares texts and tables; last_commit.py reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from vae_likelihoods.report.records import METRICS, read_record
from vae_likelihoods.units.declaration import ITSELF, Declaration
from vae_likelihoods.units.variants import VARIANT

CELL = ["study", "cell"]

Stages = dict[str, dict[str, Any]]
Environments = Sequence[Mapping[str, Any]]


class ValueDifference(NamedTuple):
    """A value that stands in both reports.

    Args:
        place: where it stands, in words.
        committed: the value in the commit.
        computed: the value in the reproduction.
        size: how far they are apart, as a part of the number or of its whole (`Declaration.whole`); infinite
            for values that must be the same and are not.
        column: its name; empty for the table as a whole.
        exact: whether it must be the same on every machine.
    """

    place: str
    committed: Any
    computed: Any
    size: float
    column: str = ""
    exact: bool = True

    def __str__(self) -> str:
        apart = f", {self.size:.1e} apart" if math.isfinite(self.size) else ""
        return f"{self.place} is {self.committed} in the commit, {self.computed} here{apart}"


def unlike(committed: Environments, computed: Environments) -> list[str]:
    """Return why the bytes cannot be expected to agree, one reason each; nothing if they can.

    Args:
        committed: reports/environment.json of the commit; empty if there is none.
        computed: that of the reproduction.
    """
    if not committed or any(each["environment"] is None for each in committed):
        return ["the commit does not say where all of its results were computed"]
    return _apart(*([_deciding(each["environment"]) for each in side] for side in (committed, computed)))


def other_versions(committed: Environments, computed: Environments) -> list[str]:
    """Return the packages, and Python, that have other versions, though `unlike` does not ask for them."""
    return _apart(*([_versions(each["environment"]) for each in side] for side in (committed, computed)))


def _apart(there: Sequence[Mapping[str, str]], here: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for facts in [*there, *here] for name in facts)
    values = {name: (_values(there, name), _values(here, name)) for name in names}
    return [
        f"{name}: {left} in the commit, {right} here"
        for name, (left, right) in values.items()
        if left != right
    ]


def _deciding(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what decides the last digits, without nesting."""
    limits = environment["kernels"]["limits"]
    kernels = {**environment["kernels"], "limits": " ".join(f"{key}={limits[key]}" for key in sorted(limits))}
    sections = {"platform": environment["platform"], "kernels": kernels}
    flat = {f"{name} {key}": str(value) for name, part in sections.items() for key, value in part.items()}
    rest = {name: str(environment[name]) for name in ("threads", "device")}
    return {**flat, **rest, "torch": environment["packages"]["torch"]}


def _versions(environment: Mapping[str, Any]) -> dict[str, str]:
    return {"python": environment["python"], **environment["packages"]}


def _values(side: Sequence[Mapping[str, str]], name: str) -> str:
    return " and ".join(sorted({facts.get(name) or "(none)" for facts in side}))


def needed(stages: Stages, name: str) -> set[str]:
    """Return `name` and the stages that it depends on, directly or indirectly."""
    makers = {out["path"]: maker for maker, entry in stages.items() for out in entry.get("outs", [])}
    visited, waiting = set(), [name]
    while waiting:
        stage = waiting.pop()
        visited.add(stage)
        deps = (dep["path"] for dep in stages[stage].get("deps", []))
        waiting += [makers[path] for path in deps if path in makers and makers[path] not in visited]
    return visited


def unlike_stages(committed: Stages, computed: Stages) -> list[str]:
    """Return one sentence for each stage whose entry in the lock files is not the commit's.

    Args:
        committed: name -> entry, of all stages that belong to what is compared.
        computed: the same of the reproduction.
    """
    outputs = {out["path"] for entry in computed.values() for out in entry.get("outs", [])}
    faults = []
    for name in sorted({*committed, *computed}):
        there, here = committed.get(name), computed.get(name)
        if there is None or here is None:
            faults.append(f"{name} stands in {'the commit' if here is None else 'the reproduction'} alone")
            continue
        outs = _changed(there.get("outs", []), here.get("outs", []))
        deps = _changed(there.get("deps", []), here.get("deps", []))
        sources = [path for path in deps if path not in outputs]
        if outs:
            faults.append(f"{name} gives another {', '.join(outs)}")
        if sources:
            faults.append(f"{name} is locked with another {', '.join(sources)} than the commit has")
        if any(there.get(key) != here.get(key) for key in ("cmd", "params")):
            faults.append(f"{name} is locked with another command or other parameters than the commit has")
    return faults


def _changed(there: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]) -> list[str]:
    left, right = ({entry["path"]: entry for entry in side} for side in (there, here))
    return [path for path in sorted({*left, *right}) if left.get(path) != right.get(path)]


def evaluated(evaluations: Path, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the records of the evaluations that a summary was made of, in its order.

    Args:
        evaluations: the folder of `<study>/<cell>/metrics.json`.
        summary: summary.csv.

    Raises:
        SettingError: an evaluation is damaged.
    """
    cells = zip(summary["study"], summary["cell"], strict=True)
    return [
        read_record(evaluations / study / cell / METRICS, study, "evaluate it again") for study, cell in cells
    ]


def differences(
    committed: pd.DataFrame, computed: pd.DataFrame, declarations: Mapping[str, Declaration]
) -> list[ValueDifference]:
    """Compare every number and every word of two summary.csv, row by row in any order.

    The declaration of a column decides how it is compared; a column without one must be the same.
    """
    if set(committed) != set(computed):
        return [ValueDifference("the list of columns", sorted(committed), sorted(computed), math.inf)]
    left, right = (frame.set_index(CELL).sort_index() for frame in (committed, computed))
    if not left.index.equals(right.index):
        odd = ", ".join(sorted(map("/".join, left.index.symmetric_difference(right.index))))
        place = f"the list of cells ({odd or 'one of them twice'})"
        return [ValueDifference(place, len(left), len(right), math.inf)]
    numbers = left.select_dtypes("number").abs().max()
    largest = {str(name): float(value) for name, value in numbers.items()}
    return [
        ValueDifference(
            f"{column} of {'/'.join(cell)}",
            there[column],
            here[column],
            _size(declarations.get(column), there, column, here[column], largest),
            column,
            column not in declarations or declarations[column].exact,
        )
        for cell, there, here in zip(left.index, rows(left), rows(right), strict=True)
        for column in there
    ]


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, each as column -> value."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def with_variants(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose settings have a variant: an empty one where nothing else is varied."""
    column = table.get(VARIANT, pd.Series("", table.index))
    return table.assign(**{VARIANT: column.astype(object).where(column.notna(), "")})


def _size(
    declaration: Declaration | None,
    committed: Mapping[str, Any],
    column: str,
    computed: Any,
    largest: Mapping[str, float],
) -> float:
    """Return how far a value is from that of the committed row, as `ValueDifference.size` says."""
    value = committed[column]
    if value == computed or (pd.isna(value) and pd.isna(computed)):
        return 0.0
    if declaration is None or declaration.exact or pd.isna(value) or pd.isna(computed):
        return math.inf
    whole = value if declaration.whole == ITSELF else committed.get(declaration.whole, largest[column])
    return abs(value - computed) / abs(whole) if whole else math.inf
