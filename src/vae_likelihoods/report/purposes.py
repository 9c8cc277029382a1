"""When to prefer another setting than the one that codes best: for samples, for a representation, ..."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_likelihoods.report import scores
from vae_likelihoods.report.ranking import Answer
from vae_likelihoods.report.resampling import Floats, Interval, compare
from vae_likelihoods.report.scores import Evaluated, Name
from vae_likelihoods.report.words import listed, named
from vae_likelihoods.units import Row, Unit, require_alike


@dataclass(frozen=True)
class Purpose:
    """What a setting may be wanted for other than coding images, and the numbers that speak of it.

    Args:
        name: in words.
        numbers: names in metrics.json -> words; the first that all cells have counts.
        better: the direction of a better model, where metrics.json does not say it itself.
    """

    name: str
    numbers: dict[str, str]
    better: str


PURPOSES = (
    Purpose("samples", {"frechet_draws": "Fréchet distance"}, "lower"),
    Purpose("samples of every kind", {"coverage_draws": "coverage"}, "higher"),
    Purpose(
        "representation",
        {"linear_probe_accuracy": "probe accuracy", "knn_accuracy": "kNN accuracy"},
        "higher",
    ),
    Purpose("reconstructions", {"squared_error": "squared error"}, "lower"),
)


@dataclass(frozen=True)
class Preference:
    """Which setting a purpose prefers, and how sure that is."""

    purpose: str
    words: str  # the number in words
    values: dict[Name, float]  # mean over seeds
    best: Name
    interval: Interval  # by how much the setting that codes best is worse, corrected as in the ranking
    noise_known: bool


def preferences(found: Answer) -> list[Preference]:
    """Return which setting each purpose prefers, of the purposes that all cells were measured for.

    Raises:
        UnlikeUnits: a number that would be ranked has another unit in another cell.
    """
    measured = ((purpose, _number(found.cells, purpose)) for purpose in PURPOSES)
    return [_preference(found, purpose, number) for purpose, number in measured if number]


def sentences(found: Answer, made: Sequence[Preference]) -> list[str]:
    """Return in words what each purpose prefers, and for which nothing was measured."""
    return [*(_preferred(found, one) for one in made), *_missing(made)]


def is_number(value: Any) -> bool:
    """Whether a value of metrics.json is one number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(cells: Sequence[Evaluated], purpose: Purpose) -> str:
    """Return the number that speaks of a purpose; empty if there is none that all cells have."""
    everywhere = (name for name in purpose.numbers if all(is_number(c.numbers.get(name)) for c in cells))
    return next(everywhere, "")


def _preference(found: Answer, purpose: Purpose, number: str) -> Preference:
    """Compare the settings by one number, image by image where it is stored for every image."""
    require_alike("number", number, [_row(found.study, cell, number) for cell in found.cells])
    by_image = scores.by_setting(found.cells, number)
    values = by_image or _by_seed(found.cells, number)  # [S, N], or [S, 1]
    better = found.cells[0].numbers.get("better", {}).get(number, purpose.better)
    sign = 1 if better == "lower" else -1
    compared = compare([sign * one for one in values.values()], [name.likelihood for name in values])
    names = list(values)
    best, own = int(compared.means.argmin()), names.index(found.best.name)
    return Preference(
        purpose=purpose.name,
        words=purpose.numbers[number],
        values={name: float(one.mean()) for name, one in values.items()},
        best=names[best],
        interval=Interval(0.0, 0.0) if best == own else compared.interval(own, best),
        noise_known=bool(by_image) or found.seeds_known,
    )


def _by_seed(cells: Sequence[Evaluated], number: str) -> dict[Name, Floats]:
    groups: dict[Name, list[list[float]]] = {}
    for cell in cells:
        groups.setdefault(cell.name, []).append([float(cell.numbers[number])])
    return {name: np.array(rows) for name, rows in groups.items()}


def _row(study: str, cell: Evaluated, number: str) -> Row:
    unit = Unit.from_dict(cell.numbers["units"].get(number))
    return Row(f"{study}/{cell.cell}", {}, {number: unit})


def _preferred(found: Answer, made: Preference) -> str:
    own, best = made.values[found.best.name], made.values[made.best]
    told = f"{made.words} {best:.4g}"
    if made.best == found.best.name:
        return f"For {made.purpose} it is first too ({told})."
    other = f"{named(*made.best)} ({told} against {own:.4g})"
    if not made.noise_known:
        return f"For {made.purpose}, {other} is ahead; whether by more than noise is not known."
    if made.interval.low > 0:
        return f"For {made.purpose} prefer {other}."
    return f"For {made.purpose}, {other} is ahead but indistinguishable."


def _missing(made: Sequence[Preference]) -> Iterator[str]:
    measured = {one.purpose for one in made}
    missing = [
        f"{purpose.name} ({' or '.join(purpose.numbers.values())})"
        for purpose in PURPOSES
        if purpose.name not in measured
    ]
    if missing:
        yield f"Not measured: {listed(missing)}."
