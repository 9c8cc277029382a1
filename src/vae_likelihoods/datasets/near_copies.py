"""Images that look like another one though their levels differ: saved again, scaled, or made brighter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALIKE = 0.99
"""The correlation of two thumbnails from which images count as near copies. None of 500 test digits of MNIST
correlates so much with one of 4,000 others, and ten do with 0.98."""

_SIDE = 16  # of a thumbnail
_FAINT = 1.0  # standard deviation, in levels of 256, below which an image has no features to compare
_AT_ONCE = 2**24  # comparisons
_OTHERS = 2**14  # images whose thumbnails are held


def near_copies(
    images: NDArray[np.uint8], others: NDArray[np.uint8], native_levels: int
) -> NDArray[np.int64]:
    """Find the images [N, C, H, W] that are near copies, or exact ones, of one of `others` [M, C, H, W].

    Grey thumbnails are compared by their correlation, on which brightness and contrast have no influence.
    Images that are nearly of one level are never counted.

    Returns:
        The place in `others` of what each image is most like, -1 where nothing is a near copy; [N].
    """
    left = _thumbnails(images, native_levels)
    places, most = np.zeros(len(left), np.int64), np.full(len(left), -1, np.float32)
    for first in range(0, len(others), _OTHERS):
        right = _thumbnails(others[first : first + _OTHERS], native_levels)
        parts = np.array_split(left, max(1, len(left) * len(right) // _AT_ONCE))
        best, alike = map(np.concatenate, zip(*(_best(part, right) for part in parts), strict=True))
        better = alike > most
        places[better], most[better] = first + best[better], alike[better]
    return np.where(most >= ALIKE, places, -1)


def _best(
    left: NDArray[np.float32], right: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the place in `right` of the thumbnail most like each of `left`, and their correlation; [N]."""
    alike = left @ right.T
    best = alike.argmax(axis=1)
    return best, alike[np.arange(len(best)), best]


def _thumbnails(images: NDArray[np.uint8], native_levels: int) -> NDArray[np.float32]:
    """Return grey thumbnails with mean 0 and length 1, or of zeros if they are faint, [N, 16 * 16]."""
    small = np.stack([_thumbnail(image) for image in images]).reshape(len(images), -1)
    small *= 255 / (native_levels - 1)
    small -= small.mean(axis=1, keepdims=True)
    faint = small.std(axis=1, keepdims=True) < _FAINT
    length = np.linalg.norm(small, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = np.where(faint, 0, small / np.maximum(length, 1e-6)).astype(np.float32)
    return scaled


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey: Any = image.mean(axis=0, dtype=np.float32)
    height, width = (min(side, _SIDE) for side in grey.shape)
    resized = Image.fromarray(grey).resize((width, height), Image.Resampling.BOX)
    return np.asarray(resized, np.float32)
