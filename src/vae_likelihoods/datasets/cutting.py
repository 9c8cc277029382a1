"""Which images are cut off for a split: stratified by class, or whole groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.errors import require

Indices = NDArray[np.int64]


def cut(
    setting: str, size: int, part: LabelledArrays, indices: Indices, seed: int, spared: int = 1
) -> tuple[Indices, Indices]:
    """Cut `size` images off, stratified by class; return the rest and them, both shuffled.

    Where images belong to groups, whole groups are cut, and the size is met as well as they can.

    Args:
        setting: the key that asks for the size, which a refusal names.
        size: how many.
        part: the images, with labels and groups if they have them.
        indices: those images of `part` that are there to be cut, [N].
        seed: of the shuffles.
        spared: how many groups must stay in the rest.

    Raises:
        SettingError: so many cannot be cut.
    """
    if part.groups is not None and len(np.unique(part.groups[indices])) < len(indices):
        return _cut_groups(setting, size, part, indices, seed, spared)
    from sklearn.model_selection import train_test_split  # slow to import, and only needed here

    strata = _strata(part.labels, indices)
    classes = len(np.unique(strata))
    _require_between(setting, size, classes, len(indices), f" of {classes} classes" if classes > 1 else "")
    rest, taken = train_test_split(indices, test_size=size, stratify=strata, random_state=seed)
    return rest, taken


def _cut_groups(
    setting: str, size: int, part: LabelledArrays, indices: Indices, seed: int, spared: int
) -> tuple[Indices, Indices]:
    """Cut whole groups off, drawn in random order."""
    assert part.groups is not None
    _require_between(setting, size, 1, len(indices))
    draw = np.random.default_rng(seed)
    _, groups = np.unique(part.groups[indices], return_inverse=True)
    _, strata = np.unique(_strata(part.labels, indices), return_inverse=True)
    order = draw.permutation(int(groups.max()) + 1).tolist()
    shares = _shares(size, strata, draw)
    chosen = _chosen(size, _members(groups, strata), shares, order, len(order) - spared)
    taken = chosen[groups]
    return draw.permutation(indices[~taken]), draw.permutation(indices[taken])


def _chosen(
    size: int, members: list[list[tuple[int, int]]], shares: list[int], order: list[int], most: int
) -> NDArray[np.bool_]:
    """Return which groups are cut, [G]; `most` are that many at most.

    First those that fit into what each class has left of its share, then those that fit at all. One more is
    taken if that brings the size nearer, or if none fits.
    """
    sizes = [sum(count for _, count in each) for each in members]
    chosen, left = np.zeros(len(sizes), np.bool_), size
    for stratified in (True, False):
        for group in order:
            fits = not chosen[group] and sizes[group] <= left and most > 0
            if fits and (not stratified or all(count <= shares[of] for of, count in members[group])):
                chosen[group], left, most = True, left - sizes[group], most - 1
                for of, count in members[group]:
                    shares[of] -= count
    smallest = min((group for group in order if not chosen[group]), key=sizes.__getitem__)
    if most > 0 and (left == size or sizes[smallest] < 2 * left):
        chosen[smallest] = True
    return chosen


def _members(groups: NDArray[np.int64], strata: NDArray[np.int64]) -> list[list[tuple[int, int]]]:
    """Return of each group how many images of which stratum it has."""
    pairs, counts = np.unique(np.stack([groups, strata]), axis=1, return_counts=True)
    members: list[list[tuple[int, int]]] = [[] for _ in range(int(groups.max()) + 1)]
    for group, of, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        members[group].append((of, count))
    return members


def _shares(size: int, strata: NDArray[np.int64], draw: np.random.Generator) -> list[int]:
    """Return how many of `size` images each stratum gets: its share, rounded so that the sum is right."""
    exact = size * np.bincount(strata) / len(strata)
    shares = np.floor(exact).astype(np.int64)
    by_remainder = np.lexsort([draw.permutation(len(shares)), shares - exact])  # ties by lot
    shares[by_remainder[: size - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def _require_between(setting: str, size: int, least: int, count: int, of: str = "") -> None:
    most = count - least
    require(least <= size <= most, setting, size, f"{least} to {most} can be cut from {count} images{of}")


def _strata(labels: NDArray[np.integer[Any]] | None, indices: Indices) -> Indices:
    """Return the stratum of each of the images `indices`: its class; the same for all if there are none.

    A class of which one image is left cannot be in both parts of a cut. That image is drawn together with
    those of the most frequent class, so it is as likely as any other to be cut off.
    """
    if labels is None or labels.ndim > 1:
        return np.zeros(len(indices), np.int64)
    _, classes, counts = np.unique(labels[indices], return_inverse=True, return_counts=True)
    strata: Indices = np.where(counts[classes] > 1, classes, counts.argmax())
    return strata
