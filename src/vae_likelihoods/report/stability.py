"""Whether a ranking holds: over the levels K of a pixel, over k of the bound, over the latent size.

Two rankings of the same things are compared by Kendall's tau: 1 if all pairs stand in the same order, -1 if
none does. A pair that changed its order *flipped*. A flip is *firm* if both orders are more than noise: the
paired 95 % interval of that pair, alone, excludes 0 in both rankings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from scipy.stats import kendalltau

from vae_likelihoods.report import scores
from vae_likelihoods.report.ranking import Answer
from vae_likelihoods.report.resampling import Floats, Interval, compare
from vae_likelihoods.report.scores import Name
from vae_likelihoods.report.words import latents, listed, named

Axis = Literal["levels", "samples", "latents"]

_LEVELS = re.compile(r"nll_at_(\d+)_levels_nats")  # of the metric `coarsening`
_SAMPLES = re.compile(r"nll_k(\d+)_nats")  # of the metric `iwae_curve`


@dataclass(frozen=True)
class Order:
    """One ranking.

    Args:
        label: what it was made at, such as ``K = 32``.
        scores: of each thing that is ranked, by its name in words; lower is better.
        interval: of the score of one less that of another, for two names.
    """

    label: str
    scores: dict[str, float]
    interval: Callable[[str, str], Interval]

    def firm(self, one: str, other: str) -> bool:
        """Whether the order of two things is more than noise."""
        low, high = self.interval(one, other)
        return low > 0 or high < 0


@dataclass(frozen=True)
class Agreement:
    """How one ranking agrees with the one that it is held against."""

    axis: Axis
    reference: str
    label: str
    ranked: int  # things in both
    tau: float
    flips: tuple[tuple[str, str], ...]  # (better in the reference, better in the other)
    firm: tuple[tuple[str, str], ...]  # those of `flips` that are more than noise
    first: str  # the best in this ranking
    first_of_reference: str

    @property
    def pairs(self) -> int:
        """How many pairs could flip."""
        return math.comb(self.ranked, 2)


def agreements(found: Answer) -> list[Agreement]:
    """Return how the rankings of a study agree, on every axis that was measured."""
    made: dict[Axis, list[Order]] = {
        "levels": _by(_LEVELS, "K", found),
        "samples": _by(_SAMPLES, "k", found),
        "latents": _over_latents(found),
    }
    return [
        agree(axis, orders[0], other)
        for axis, orders in made.items()
        for other in orders[1:]
        if len(orders[0].scores.keys() & other.scores.keys()) > 1
    ]


def sentences(made: Sequence[Agreement]) -> list[str]:
    """Return in words how the ranking holds on each axis that was measured."""
    axes: dict[Axis, list[Agreement]] = {}
    for one in made:
        axes.setdefault(one.axis, []).append(one)
    return [_held(group) for group in axes.values()]


def _held(made: list[Agreement]) -> str:
    one = made[0]
    things = "likelihoods" if one.axis == "latents" else "settings"
    taus = listed([f"{each.tau:.2f} at {each.label}" for each in made])
    said = f"Kendall's tau to the ranking of {one.ranked} {things} at {one.reference} is {taus}"
    moved = [f"{each.first} at {each.label}" for each in made if each.first != each.first_of_reference]
    first = f"first is then {listed(moved)}" if moved else f"{one.first_of_reference} stays first"
    return f"{said}; {first}; {_changed(made)}."


def _changed(made: list[Agreement]) -> str:
    count, firm = sum(len(one.flips) for one in made), sum(len(one.firm) for one in made)
    if not count:
        return "no pair changes its order"
    verb = "changes its" if count == 1 else "change their"
    return f"{count} of {sum(one.pairs for one in made)} pairs {verb} order, {firm or 'none'} firmly"


def agree(axis: Axis, reference: Order, other: Order) -> Agreement:
    """Compare two rankings by what is in both."""
    shared = [name for name in reference.scores if name in other.scores]
    one, two = ([order.scores[name] for name in shared] for order in (reference, other))
    tau = float(kendalltau(one, two).statistic)
    flips = tuple(_flips(reference, other, shared))
    firm = tuple(pair for pair in flips if reference.firm(*pair) and other.firm(*pair))
    first, second = (min(shared, key=order.scores.__getitem__) for order in (other, reference))
    return Agreement(axis, reference.label, other.label, len(shared), tau, flips, firm, first, second)


def _flips(reference: Order, other: Order, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in combinations(sorted(names, key=reference.scores.__getitem__), 2):
        better, worse = pair
        apart = reference.scores[better] < reference.scores[worse]
        if apart and other.scores[better] > other.scores[worse]:
            yield pair


def _by(pattern: re.Pattern[str], label: str, found: Answer) -> list[Order]:
    """Return the rankings of the settings by the scores of a pattern, the largest of its number first."""
    names = found.cells[0].per_image
    columns = {int(match[1]): match[0] for name in names if (match := pattern.fullmatch(str(name)))}
    nats = {
        number: scores.by_setting(found.cells, columns[number]) for number in sorted(columns, reverse=True)
    }
    return [
        _of_settings(f"{label} = {number}", by_setting) for number, by_setting in nats.items() if by_setting
    ]


def _of_settings(label: str, nats: dict[Name, Floats]) -> Order:
    compared = compare(list(nats.values()), [name.likelihood for name in nats])
    places = {named(*name): place for place, name in enumerate(nats)}

    def interval(one: str, other: str) -> Interval:
        return compared.interval(places[one], places[other], corrected=False)

    return Order(label, dict(zip(places, compared.means.tolist(), strict=True)), interval)


def _over_latents(found: Answer) -> list[Order]:
    """Return the rankings of the likelihoods at each latent size, that of the best setting first."""
    sizes = sorted({setting.latent_dim for setting in found.settings})
    best = found.best.latent_dim
    return [_at_size(found, size) for size in sorted(sizes, key=lambda size: (size != best, size))]


def _at_size(found: Answer, size: int) -> Order:
    names = {f"`{s.likelihood}`": s for s in found.settings if s.latent_dim == size}

    def interval(one: str, other: str) -> Interval:
        return found.between(names[one].name, names[other].name)

    return Order(latents(size), {words: s.bits_per_dim for words, s in names.items()}, interval)
