"""A picture of the first images of each class, to see what a data set is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from vae_likelihoods.datasets.base import Labelled

_GAP = 2  # pixels between images
_SIDE = 28  # smaller images are enlarged to about this many pixels


def contact_sheet(data: Labelled, native_levels: int, columns: int = 10) -> NDArray[np.float32]:
    """Return a picture [height, width, 3] in [0, 1]: a row a class, the first `columns` images of each."""
    classes = np.unique(data.labels)
    zoom = max(1, _SIDE // data.images.shape[-1])
    height, width = (zoom * side + _GAP for side in data.images.shape[-2:])
    sheet = np.ones((len(classes) * height + _GAP, columns * width + _GAP, 3), np.float32)
    for row, label in enumerate(classes):
        for column, image in enumerate(data.images[data.labels == label][:columns]):
            tile = _tile(image, native_levels, zoom)
            top, left = row * height + _GAP, column * width + _GAP
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def write_contact_sheet(path: Path, data: Labelled, native_levels: int) -> None:
    """Write the sheet of `data` as a PNG that says nothing of when and by what it was made."""
    nothing: Any = {"Software": None}  # the way to switch it off, which the stubs do not know
    imsave(path, contact_sheet(data, native_levels), metadata=nothing)


def _tile(image: NDArray[np.uint8], native_levels: int, zoom: int) -> NDArray[np.float32]:
    """Return `image` [C, H, W] as colours [zoom H, zoom W, 3]; one channel is grey."""
    shown = image if len(image) == 3 else np.repeat(image[:1], 3, axis=0)
    enlarged = shown.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return (np.moveaxis(enlarged, 0, -1) / (native_levels - 1)).astype(np.float32)
