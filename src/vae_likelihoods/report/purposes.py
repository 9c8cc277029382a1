"""Which setting to prefer for another purpose than the score: for samples, for a representation, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_likelihoods.report import scores
from vae_likelihoods.report.ranking import Answer
from vae_likelihoods.report.records import is_number
from vae_likelihoods.report.resampling import Interval, compare
from vae_likelihoods.report.scores import Evaluated, Name
from vae_likelihoods.report.seeds import Floats
from vae_likelihoods.report.words import listed
from vae_likelihoods.units.declaration import Declaration

EXPECTED = ("samples", "diverse samples", "representation", "reconstructions")
"""A report says for which of these nothing was measured. Metrics may declare further purposes."""


@dataclass(frozen=True)
class Preference:
    """The best setting for a purpose, and how sure that is; of those that have the number it is judged by."""

    purpose: str
    number: Declaration
    values: dict[Name, float]  # mean over seeds
    best: Name
    first: Name  # the one with the best score
    interval: Interval | None  # how much worse the setting with the best score is, as in the ranking
    noise_known: bool


def preferences(answer: Answer) -> list[Preference]:
    """Return the best setting for each purpose for which the cells share a number: the first one declared."""
    numbers: dict[str, Declaration] = {}
    for number in answer.declarations.values():
        if number.purpose and scores.shared(answer.cells, _having(answer.cells, number.name)):
            numbers.setdefault(number.purpose, number)
    order = [*EXPECTED, *(purpose for purpose in numbers if purpose not in EXPECTED)]
    return [_preference(answer, numbers[purpose]) for purpose in order if purpose in numbers]


def sentences(answer: Answer, preferred: Sequence[Preference]) -> list[str]:
    """Return in words which setting each purpose prefers, and for which purposes nothing was measured."""
    measured = {each.purpose for each in preferred}
    groups: dict[str, list[str]] = {}
    for purpose in EXPECTED:
        if purpose not in measured:
            groups.setdefault(_reason(answer, purpose), []).append(purpose)
    parts = [listed(names) + (f" ({reason})" if reason else "") for reason, names in groups.items()]
    unmeasured = [f"Not measured: {'; '.join(parts)}."] if parts else []
    return [*(_sentence(answer, each) for each in preferred), *unmeasured]


def _reason(answer: Answer, purpose: str) -> str:
    """Return why no number speaks for a purpose; empty if no cell says so."""
    names = [number.name for number in answer.declarations.values() if number.purpose == purpose]
    reasons = (cell.missing[name] for name in names for cell in answer.cells if name in cell.missing)
    return next(reasons, "")


def _preference(answer: Answer, number: Declaration) -> Preference:
    """Compare the settings by one number, image by image where it is stored for every image."""
    by_image = scores.by_setting(answer.cells, number.name)
    values = by_image or _by_seed(_having(answer.cells, number.name), number.name)  # [S, N], or [S, 1]
    sign = -1 if number.better == "higher" else 1
    signed, families = [sign * each for each in values.values()], [name.family for name in values]
    compared = compare(signed, families, by_image=bool(by_image))
    names = list(values)
    own = names.index(next(setting.name for setting in answer.settings if setting.name in values))
    best = own if compared.means[own] == compared.means.min() else int(compared.means.argmin())
    return Preference(
        purpose=number.purpose,
        number=number,
        values={name: float(each.mean()) for name, each in values.items()},
        best=names[best],
        first=names[own],
        interval=Interval(0.0, 0.0) if best == own else compared.interval(own, best),
        noise_known=bool(by_image) or answer.seeds_known,
    )


def _having(cells: Sequence[Evaluated], number: str) -> list[Evaluated]:
    return [cell for cell in cells if is_number(cell.values.get(number))]


def _by_seed(cells: Sequence[Evaluated], number: str) -> dict[Name, Floats]:
    groups: dict[Name, list[list[float]]] = {}
    for cell in cells:
        groups.setdefault(cell.name, []).append([float(cell.values[number])])
    return {name: np.array(rows) for name, rows in groups.items()}


def _sentence(answer: Answer, preferred: Preference) -> str:
    own, best = (preferred.number.text(preferred.values[name]) for name in (preferred.first, preferred.best))
    number, start, it = f"{preferred.number.header} {best}", f"For {preferred.purpose}", "it"
    if preferred.first != answer.best.name:
        own += f" of {preferred.first.in_words}"
        start += f", which {answer.best.name.in_words} does not give,"
        it = f"the first that does, {preferred.first.in_words},"
    if preferred.best == preferred.first:
        return f"{start} {it} is the best too ({number})."
    other = f"{preferred.best.in_words} ({number} against {own})"
    if preferred.noise_known and preferred.interval and preferred.interval.low > 0:
        return f"{start} prefer {other}."
    ahead = f"{start.removesuffix(',')}, {other} is ahead"
    if not preferred.noise_known:
        return f"{ahead}; whether by more than noise is not known."
    if preferred.interval is None:
        return f"{ahead}; too few images to say whether by more than noise."
    return f"{ahead}, but the difference may be noise."
