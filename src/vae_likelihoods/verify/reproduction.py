"""Whether a reproduction gives what was committed: the same hashes, or numbers within a tolerance.

Compares texts and tables; pipelines/verify.py brings them here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

CELL = ["study", "cell"]
EXACT = [
    "dataset", "levels", "likelihood", "latent_dim", "seed", "importance_samples", "trained_on", "parameters",
    "multiply_adds", "scale", "split", "dimensions",
]  # fmt: skip
CLOSE = [
    "bits_per_dim", "nll_nats", "elbo_nats", "rate_nats", "distortion_nats", "bits_per_dim_se",
    "effective_sample_size", "active_units", "squared_error", "epochs",
]  # fmt: skip
WHOLE = {
    "rate_nats": "nll_nats",
    "effective_sample_size": "importance_samples",
    "active_units": "latent_dim",
}
"""What a number is a part of. It may be near 0, so its difference is measured against the whole.

That of a number that no list here names, so of a further metric, is the largest of its column."""

Stages = dict[str, dict[str, Any]]
Environments = Sequence[Mapping[str, Any]]


class ValueDifference(NamedTuple):
    """A number that stands in both reports.

    Args:
        place: which one, in words.
        committed: what the commit says.
        found: what the reproduction gave.
        size: how far they are apart, as a part of the number or of its WHOLE; infinite for what must be
            the same and is not.
    """

    place: str
    committed: Any
    found: Any
    size: float

    def __str__(self) -> str:
        apart = f", {self.size:.1e} apart" if math.isfinite(self.size) else ""
        return f"{self.place} is {self.committed} in the commit, {self.found} here{apart}"


def unlike(committed: Environments, found: Environments) -> list[str]:
    """Return why the bytes cannot be expected to agree, one reason each; nothing if they can.

    Args:
        committed: reports/environment.json of the commit; empty if there is none.
        found: that of the reproduction.
    """
    if not committed or any(one["environment"] is None for one in committed):
        return ["the commit does not say where all of its results were computed"]
    return _apart(*([_deciding(one["environment"]) for one in side] for side in (committed, found)))


def other_versions(committed: Environments, found: Environments) -> list[str]:
    """Return the packages, and Python, whose versions differ though `unlike` does not ask for them."""
    return _apart(*([_versions(one["environment"]) for one in side] for side in (committed, found)))


def _apart(theirs: Sequence[Mapping[str, str]], ours: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for facts in [*theirs, *ours] for name in facts)
    values = {name: [_values(side, name) for side in (theirs, ours)] for name in names}
    return [
        f"{name}: {there} in the commit, {here} here"
        for name, (there, here) in values.items()
        if there != here
    ]


def _deciding(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what decides the last digits, flat."""
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
    """Return `name` and the stages that it depends on, directly or not."""
    makers = {out["path"]: maker for maker, entry in stages.items() for out in entry.get("outs", [])}
    found, waiting = set(), [name]
    while waiting:
        stage = waiting.pop()
        found.add(stage)
        deps = (dep["path"] for dep in stages[stage].get("deps", []))
        waiting += [makers[path] for path in deps if path in makers and makers[path] not in found]
    return found


def unlike_stages(committed: Stages, found: Stages) -> list[str]:
    """Return one sentence for each stage whose entry in the lock files is not the commit's.

    Args:
        committed: name -> entry, of all stages that belong to what is compared.
        found: the same of the reproduction.
    """
    made = {out["path"] for entry in found.values() for out in entry.get("outs", [])}
    faults = []
    for name in sorted({*committed, *found}):
        there, here = committed.get(name), found.get(name)
        if there is None or here is None:
            faults.append(f"{name} stands in {'the commit' if here is None else 'the reproduction'} alone")
            continue
        outs = _changed(there.get("outs", []), here.get("outs", []))
        sources = [path for path in _changed(there.get("deps", []), here.get("deps", [])) if path not in made]
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


def differences(committed: pd.DataFrame, found: pd.DataFrame) -> list[ValueDifference]:
    """Compare every number and every word of two summary.csv, row by row in any order."""
    if set(committed) != set(found):
        return [ValueDifference("the list of columns", sorted(committed), sorted(found), math.inf)]
    left, right = (frame.set_index(CELL).sort_index() for frame in (committed, found))
    if not left.index.equals(right.index):
        odd = ", ".join(sorted(map("/".join, left.index.symmetric_difference(right.index))))
        return [
            ValueDifference(
                f"the list of cells ({odd or 'one of them twice'})", len(left), len(right), math.inf
            )
        ]
    further = sorted({*left} - {*EXACT, *CLOSE})
    largest = {name: float(left[name].abs().max()) for name in further}
    return [
        ValueDifference(f"{column} of {'/'.join(where)}", a[column], b[column], _size(column, a, b, largest))
        for where, a, b in zip(left.index, rows(left), rows(right), strict=True)
        for column in [*EXACT, *CLOSE, *further]
    ]


def compare(committed: pd.DataFrame, found: pd.DataFrame, tolerance: float) -> list[str]:
    """Return one sentence for everything in a summary that is not reproduced within `tolerance`."""
    return [str(one) for one in differences(committed, found) if not one.size <= tolerance]


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table, each as column -> value."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _size(
    column: str, committed: Mapping[str, Any], found: Mapping[str, Any], largest: Mapping[str, float]
) -> float:
    a, b = committed[column], found[column]
    if a == b or (pd.isna(a) and pd.isna(b)):
        return 0.0
    if column in EXACT or pd.isna(a) or pd.isna(b):
        return math.inf
    whole = largest.get(column, abs(committed[WHOLE.get(column, column)]))
    return abs(a - b) / whole if whole else math.inf
