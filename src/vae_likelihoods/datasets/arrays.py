"""Images of a data set, with the labels that they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledArrays:
    """Images at native levels, with the class of each, or the values of its factors, or without labels."""

    images: NDArray[np.uint8]  # [N, C, H, W], 0 .. native_levels - 1; C is 1 or 3
    labels: NDArray[np.integer[Any]] | None  # classes [N], factors [N, F], each 0 or more; None: no labels
    groups: NDArray[np.int64] | None = None  # [N], of which each stays in one split; None: images are single
    names: Sequence[str] | None = None  # [N]; None: images have no names


@dataclass(frozen=True)
class Split:
    """The images of one split, and their positions in the source; they are read when they are asked for.

    Attributes:
        arrays: the images of the split, or more of them if there are `rows`.
        taken_from: the source's own part: "train" or "test".
        indices: positions in that part, [N].
        rows: the images of `arrays` that are the split's, [N]; None: all of them.
        asked: how many images were to be cut; None: as many as there are.
    """

    arrays: LabelledArrays
    taken_from: str
    indices: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None
    asked: int | None = None

    @property
    def count(self) -> int:
        """Return the number of images."""
        return len(self.arrays.images if self.rows is None else self.rows)

    @property
    def labels(self) -> NDArray[np.integer[Any]] | None:
        """Return the labels of the split."""
        labels = self.arrays.labels
        return labels if labels is None or self.rows is None else labels[self.rows]

    @property
    def names(self) -> Sequence[str] | None:
        """Return the names of the images of the split."""
        names = self.arrays.names
        return names if names is None or self.rows is None else [names[row] for row in self.rows]

    @property
    def data(self) -> LabelledArrays:
        """Return images and labels, in memory if the split is a part of `arrays`."""
        if self.rows is None:
            return self.arrays
        return LabelledArrays(self.arrays.images[self.rows], self.labels, names=self.names)

    def blocks(self, at_once: int) -> Iterator[NDArray[np.uint8]]:
        """Yield the images, so many at once: [up to `at_once`, C, H, W]."""
        for start in range(0, self.count, at_once):
            block = slice(start, start + at_once)
            yield self.arrays.images[block if self.rows is None else self.rows[block]]
