"""Which images belong together: exact copies, and members of one group. They must not be in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def digests(images: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Return a hash of the levels of each image, [N]; one image is in memory at a time."""
    hashed = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    return np.array(hashed, "V16").view("S16")


def numbered(values: Sequence[Any] | NDArray[Any]) -> Ids:
    """Return the number of each value among the sorted distinct ones, [N].

    Example:
        >>> numbered(["b", "a", "b"]).tolist()
        [1, 0, 1]
    """
    ids: Ids = np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)
    return ids


def in_words(groups: Sequence[Any] | NDArray[Any]) -> str:
    """Return how many groups there are, from that of each image [N], and how large they are.

    Example:
        >>> in_words(["ann", "bob", "ann"])
        'groups: 2, the largest of 2 images; each is in one split'
    """
    sizes = np.unique(np.asarray(groups), return_counts=True)[1]
    most = f"the largest of {sizes.max():,} images" if sizes.max() > 1 else "of one image each"
    return f"groups: {len(sizes):,}, {most}; each is in one split"


def joined(*groupings: Ids) -> Ids:
    """Return the coarsest ids [N] under which images that share an id in any grouping share one.

    Example:
        >>> joined(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7])).tolist()
        [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, ends, first = len(groupings[0]), [], len(groupings[0])
    for ids in groupings:  # a node for each group, which its images are tied to
        ends.append(first + numbered(ids))
        first = int(ends[-1].max(initial=first)) + 1
    images = np.tile(np.arange(count), len(groupings))
    ties = coo_array((np.ones(len(images), np.int8), (images, np.concatenate(ends))), shape=(first, first))
    _, found = connected_components(ties, directed=False)
    return numbered(found[:count])
