"""Images of one split that are in another one too, or look like one there: how many, and which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.arrays import Split
from vae_likelihoods.datasets.near_copies import near_copies
from vae_likelihoods.files import shown

LISTED = 20
"""Pairs of exact copies that a card names, and pairs of near ones."""

_COMPARED = 2_000  # images of a split that are compared with an earlier one


@dataclass(frozen=True)
class Overlap:
    """How many images of a later split are in an earlier one."""

    later: str
    earlier: str
    images: int
    copies: int  # of these, exact ones
    compared: int
    near: int  # near copies that are not exact, of those compared


@dataclass(frozen=True)
class Pair:
    """An image of a later split, and the one of an earlier split that it is most like, by their names."""

    later: str
    image: str
    earlier: str
    like: str
    exact: bool

    @property
    def text(self) -> str:
        """The pair in words; no name begins a tag of HTML."""
        relation = "is a copy of" if self.exact else "looks like"
        line = f"{self.later} {self.image}  {relation}  {self.earlier} {self.like}"
        return line.replace("<", "\\x3c")


def overlaps_of(
    splits: Mapping[str, Split], hashes: Mapping[str, NDArray[Any]], native_levels: int
) -> tuple[list[Overlap], list[Pair]]:
    """Compare each split with each earlier one.

    Args:
        splits: train first.
        hashes: of the images of each split, [N].
        native_levels: number of values a pixel can take.

    Returns:
        The counts, and the first pairs, exact ones before near ones; no pairs if the images have no names.
    """
    overlaps, pairs = list[Overlap](), {True: list[Pair](), False: list[Pair]()}
    for earlier, later in combinations(splits, 2):
        copied = _places(hashes[later], hashes[earlier])
        some = splits[later].data.images[:_COMPARED]
        near = near_copies(some, splits[earlier].data.images, native_levels)
        near[copied[: len(some)] >= 0] = -1
        counts = len(copied), int((copied >= 0).sum()), len(some), int((near >= 0).sum())
        overlaps.append(Overlap(later, earlier, *counts))
        for exact, places in ((True, copied), (False, near)):
            pairs[exact] += _pairs(splits, later, earlier, places, exact)
    return overlaps, [*pairs[True][:LISTED], *pairs[False][:LISTED]]


def _places(hashes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first place of each hash in `others`, -1 where it is not there; [N]."""
    known, first = np.unique(others, return_index=True)
    found = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    places: NDArray[np.int64] = np.where(known[found] == hashes, first[found], -1)
    return places


def _pairs(
    splits: Mapping[str, Split], later: str, earlier: str, places: NDArray[np.int64], exact: bool
) -> Iterator[Pair]:
    """Yield the first pairs, in the order of the source; `places` as of `near_copies`."""
    names, others = splits[later].names, splits[earlier].names
    if names is None or others is None:
        return
    alike = np.flatnonzero(places >= 0)
    for image in alike[np.argsort(splits[later].indices[alike])][:LISTED]:
        yield Pair(later, shown(names[image]), earlier, shown(others[places[image]]), exact)
