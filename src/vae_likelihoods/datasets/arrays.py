"""Images of a data set in memory, with the labels that they have."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Split:
    """The images of one split, and their positions in the source."""

    data: LabelledArrays
    taken_from: str  # the source's own part: "train" or "test"
    indices: NDArray[np.int64]  # [N], positions in that part
