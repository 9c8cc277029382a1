"""Whether a ranking holds: for other levels K of a pixel, other k of the bound, other latent sizes.

A score that is exact is the same at every k; a model without latents stands in no ranking of latent sizes.

Two rankings of the same things are compared by Kendall's tau: 1 if all pairs stand in the same order, -1 if
none does. A pair changes its order by more than noise if, in both rankings, the paired 95 % interval of that
pair, alone, excludes 0. The code calls the first pairs `flips` and the second ones `firm`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import kendalltau

from vae_likelihoods.report import scores
from vae_likelihoods.report.ranking import Answer
from vae_likelihoods.report.resampling import Interval, compare
from vae_likelihoods.report.scores import Name
from vae_likelihoods.report.seeds import Floats
from vae_likelihoods.report.words import latents, listed

LATENTS, SAMPLES = "latents", "samples"
SYMBOLS = {"levels": "K", SAMPLES: "k"}
"""How a place on an axis is written; other axes that metrics declare have their own name."""


@dataclass(frozen=True)
class Order:
    """One ranking.

    Args:
        label: its place on the axis, such as ``K = 32``.
        things: what is ranked: settings or likelihoods.
        scores: of each thing that is ranked, by its name in words; lower is better.
        interval: of the score of one thing minus that of another, for two names; None from too few images.
    """

    label: str
    things: str
    scores: dict[str, float]
    interval: Callable[[str, str], Interval | None]

    def firm(self, left: str, right: str) -> bool:
        """Whether the order of two things is more than noise."""
        interval = self.interval(left, right)
        return interval is not None and (interval.low > 0 or interval.high < 0)


@dataclass(frozen=True)
class Agreement:
    """How one ranking agrees with its reference, another ranking."""

    axis: str
    reference: str
    label: str
    things: str
    ranked: int  # things in both
    tau: float
    flips: tuple[tuple[str, str], ...]  # (better in the reference, better in this ranking)
    firm: tuple[tuple[str, str], ...]  # those of `flips` that are more than noise
    first: str  # the best in this ranking
    first_of_reference: str

    @property
    def pairs(self) -> int:
        """How many pairs could flip."""
        return math.comb(self.ranked, 2)


def agreements(answer: Answer) -> list[Agreement]:
    """Return how the rankings of a study agree, on every axis that was measured."""
    orders = {**_over_points(answer), LATENTS: _over_latents(answer)}
    return [
        agree(axis, ranked[0], other)
        for axis, ranked in orders.items()
        for other in ranked[1:]
        if len(ranked[0].scores.keys() & other.scores.keys()) > 1
    ]


def sentences(held: Sequence[Agreement]) -> list[str]:
    """Return in words how the ranking holds on each axis that was measured."""
    axes: dict[str, list[Agreement]] = {}
    for agreement in held:
        axes.setdefault(agreement.axis, []).append(agreement)
    return [_sentence(group) for group in axes.values()]


def _sentence(held: Sequence[Agreement]) -> str:
    first = held[0]
    taus = listed([f"{each.tau:.2f} at {each.label}" for each in held])
    start = f"Kendall's tau to the ranking of {first.ranked} {first.things} at {first.reference} is {taus}"
    others = [f"{each.first} at {each.label}" for each in held if each.first != each.first_of_reference]
    winner = f"first is then {listed(others)}" if others else f"{first.first_of_reference} stays first"
    return f"{start}; {winner}; {_changes(held)}."


def _changes(held: Sequence[Agreement]) -> str:
    flips, firm = sum(len(each.flips) for each in held), sum(len(each.firm) for each in held)
    if not flips:
        return "no pair changes its order"
    verb = "changes its" if flips == 1 else "change their"
    pairs = sum(each.pairs for each in held)
    return f"{flips} of {pairs} pairs {verb} order, {firm or 'none'} by more than noise"


def agree(axis: str, reference: Order, other: Order) -> Agreement:
    """Compare two rankings by the things that are in both."""
    shared = [name for name in reference.scores if name in other.scores]
    left, right = ([order.scores[name] for name in shared] for order in (reference, other))
    tau = float(kendalltau(left, right).statistic)
    flips = tuple(_flips(reference, other, shared))
    firm = tuple(pair for pair in flips if reference.firm(*pair) and other.firm(*pair))
    first, first_of_reference = (min(shared, key=order.scores.__getitem__) for order in (other, reference))
    size = len(shared)
    return Agreement(
        axis,
        reference.label,
        other.label,
        reference.things,
        size,
        tau,
        flips,
        firm,
        first,
        first_of_reference,
    )


def _flips(reference: Order, other: Order, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in combinations(sorted(names, key=reference.scores.__getitem__), 2):
        better, worse = pair
        apart = reference.scores[better] < reference.scores[worse]
        if apart and other.scores[better] > other.scores[worse]:
            yield pair


def _over_points(answer: Answer) -> dict[str, list[Order]]:
    """Return the rankings of the settings by axis: at each declared point of it, the largest first."""
    points = {each.point: each.name for each in answer.declarations.values() if each.point}
    orders: dict[str, list[Order]] = {}
    for axis, place in sorted(points, key=lambda point: (point[0], -point[1])):
        if nats := _at_point(answer, axis, points[axis, place]):
            label = f"{SYMBOLS.get(axis, axis)} = {place}"
            orders.setdefault(axis, []).append(_of_settings(label, nats))
    return orders


def _at_point(answer: Answer, axis: str, column: str) -> dict[Name, Floats]:
    """Return the scores of every image at a place on an axis, by setting."""
    exact = [cell for cell in answer.cells if cell.exact and axis == SAMPLES]
    bounds = scores.by_setting([cell for cell in answer.cells if cell not in exact], column)
    return {**bounds, **scores.by_setting(exact)} if bounds else {}


def _of_settings(label: str, nats: dict[Name, Floats]) -> Order:
    compared = compare(list(nats.values()), [name.family for name in nats])
    places = {name.in_words: place for place, name in enumerate(nats)}

    def interval(left: str, right: str) -> Interval | None:
        return compared.interval(places[left], places[right], corrected=False)

    return Order(label, "settings", dict(zip(places, compared.means.tolist(), strict=True)), interval)


def _over_latents(answer: Answer) -> list[Order]:
    """Return the rankings of the likelihoods at each latent size, the size of the best of them first."""
    sizes = [setting.latent_dim for setting in answer.settings if setting.latent_dim]
    return [_at_size(answer, size) for size in sorted({*sizes}, key=lambda size: (size != sizes[0], size))]


def _at_size(answer: Answer, size: int) -> Order:
    settings = {s.name.family_in_words: s for s in answer.settings if s.latent_dim == size}

    def interval(left: str, right: str) -> Interval | None:
        return answer.between(settings[left].name, settings[right].name)

    things = "settings" if answer.varied else f"{answer.noun}s"
    return Order(latents(size), things, {words: s.bits_per_dim for words, s in settings.items()}, interval)
