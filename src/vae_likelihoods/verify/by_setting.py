"""Whether another machine gives the settings of a study the scores that other seeds would give.

Training is chaotic: the last digits of another processor are amplified until its results are those of another
seed. So each setting is asked for what seeds can be asked for. The mean of log(bits/dim) over its seeds in
the commit and in the reproduction must agree within Student's t, with the spread of seeds that both show.
The spread is pooled over the study; a likelihood whose own spread is larger, by an F-test, keeps its own,
with its own degrees of freedom. All settings together raise a false alarm in `FALSE_ALARMS` of reproductions
(Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from vae_likelihoods.report.records import BITS_SCORE
from vae_likelihoods.report.scores import Name
from vae_likelihoods.verify.reproduction import rows, with_variants

FALSE_ALARMS = 0.01
"""The share of right reproductions of a study that are called wrong, if seeds are normal on the log scale."""

_NOISY = 0.05  # level of the F-test by which a likelihood keeps its own spread
_ROUNDING = 1e-6  # of a score: models that do not depend on the seed differ by so little between processors


class Shift(NamedTuple):
    """How far a setting of the reproduction is from that of the commit.

    Args:
        name: the setting.
        committed: mean bits/dim over its seeds in the commit.
        computed: that of the reproduction.
        spreads: the distance of the means of log(bits/dim), in standard deviations of one seed.
        p_value: of no difference, for this setting alone.
    """

    name: Name
    committed: float
    computed: float
    spreads: float
    p_value: float

    def __str__(self) -> str:
        bits = f"{self.committed:.4f} bits/dim in the commit, {self.computed:.4f} here"
        return f"{self.name.in_words} has {bits}, {self.spreads:.1f} standard deviations of a seed apart"


def shifts(committed: pd.DataFrame, computed: pd.DataFrame) -> list[Shift]:
    """Return how far each setting of one study moved; empty if no setting has two seeds.

    Args:
        committed: its rows of summary.csv in the commit.
        computed: those of the reproduction, with the same settings.
    """
    left, right = (_logs(table) for table in (committed, computed))
    spread = _spread([*left.items(), *right.items()])
    found = []
    for name in left if spread else ():
        ours, theirs = left[name], right[name]
        variance, degrees = spread[name.family]
        deviation = max(np.sqrt(variance), _ROUNDING)
        distance = abs(ours.mean() - theirs.mean()) / deviation
        error = np.sqrt(1 / ours.size + 1 / theirs.size)
        p_value = 2 * stats.t.sf(distance / error, degrees)
        there, here = (float(np.exp(each).mean()) for each in (ours, theirs))
        found.append(Shift(name, there, here, float(distance), float(p_value)))
    return found


def faults(found: list[Shift]) -> list[str]:
    """Return one sentence for each setting that moved further than other seeds would move it."""
    return [str(shift) for shift in found if shift.p_value * len(found) < FALSE_ALARMS]


def contradicted(committed: pd.DataFrame, computed: pd.DataFrame) -> list[str]:
    """Return the firm statements of the commit that the reproduction firmly denies.

    Firm is that a setting is worse than the best: its interval does not reach 0. It is denied where the
    reproduction calls that setting the best, and the best of the commit firmly worse.

    Args:
        committed: the rows of one study of plots/bits_per_dim.csv in the commit.
        computed: those of the reproduction.
    """
    tables = (with_variants(table) for table in (committed, computed))
    ours, theirs = ({Name.of(row): row for row in rows(table)} for table in tables)
    best, other = (min(side, key=lambda name: _bits(side[name])) for side in (ours, theirs))
    if best == other or not (_firmly_worse(ours[other]) and _firmly_worse(theirs[best])):
        return []
    return [f"{best.in_words} is firmly better than {other.in_words} in the commit, and firmly worse here"]


def _logs(table: pd.DataFrame) -> dict[Name, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return log(bits/dim) of every seed by setting."""
    seeds: dict[Name, list[float]] = {}
    for row in rows(with_variants(table)):
        seeds.setdefault(Name.of(row), []).append(float(row[BITS_SCORE]))
    return {name: np.log(np.maximum(bits, np.finfo(float).tiny)) for name, bits in seeds.items()}


def _spread(settings: list[tuple[Name, Any]]) -> dict[str, tuple[float, int]]:
    """Return the variance of a seed and its degrees of freedom for each family; empty if none is known."""
    squares: dict[str, list[float]] = {}
    degrees: dict[str, int] = {}
    for name, logs in settings:
        squares.setdefault(name.family, []).append(float(((logs - logs.mean()) ** 2).sum()))
        degrees[name.family] = degrees.get(name.family, 0) + logs.size - 1
    every = sum(degrees.values())
    if not every:
        return {}
    pooled = sum(map(sum, squares.values())) / every, every
    own = {family: (sum(squares[family]) / max(1, degrees[family]), degrees[family]) for family in squares}
    return {family: each if _larger(each, pooled) else pooled for family, each in own.items()}


def _larger(own: tuple[float, int], pooled: tuple[float, int]) -> bool:
    """Whether a variance is larger than the pooled one by an F-test; each has its degrees of freedom."""
    if not own[1] or own[0] <= pooled[0]:
        return False
    rest = pooled[1] - own[1]
    others = (pooled[0] * pooled[1] - own[0] * own[1]) / max(1, rest)
    return bool(rest > 0 and others > 0 and stats.f.sf(own[0] / others, own[1], rest) < _NOISY)


def _bits(row: Mapping[str, Any]) -> float:
    return float(row[BITS_SCORE])


def _firmly_worse(row: Mapping[str, Any]) -> bool:
    """Whether the interval of a setting's distance to the best lies above 0; without one nothing is firm."""
    return pd.notna(row["behind_low"]) and float(row["behind_low"]) > 0
