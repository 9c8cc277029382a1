"""A picture of the first images of each class, or of all, as a first look at a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

from vae_likelihoods.datasets.arrays import LabelledArrays

_GAP = 2  # pixels between images
_SIDE = 28  # smaller images are enlarged to about this many pixels
_MOST = 128  # pixels; of a larger image every second, third, ... row and column is shown
_ROWS = 100  # classes that are shown


def contact_sheet(data: LabelledArrays, native_levels: int, columns: int = 10) -> NDArray[np.float32]:
    """Return a picture [height, width, 3] in [0, 1] with a row for each class, `columns` images long.

    Only the first 100 classes are shown. Without classes, the rows hold the first images, one after another.
    """
    rows = _rows(data, columns)
    largest = max(data.images.shape[-2:])
    zoom, step = max(1, _SIDE // largest), -(-largest // _MOST)
    height, width = (zoom * -(-side // step) + _GAP for side in data.images.shape[-2:])
    sheet = np.ones((len(rows) * height + _GAP, columns * width + _GAP, 3), np.float32)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            tile = _tile(image[:, ::step, ::step], native_levels, zoom)
            top, left = row * height + _GAP, column * width + _GAP
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def write_contact_sheet(path: Path, data: LabelledArrays, native_levels: int) -> None:
    """Write the sheet of `data` as a PNG without metadata, so that the same images give the same bytes."""
    metadata: Any = {"Software": None}  # None leaves the entry out; the stubs do not know it
    imsave(path, contact_sheet(data, native_levels), metadata=metadata)


def _rows(data: LabelledArrays, columns: int) -> list[NDArray[np.uint8]]:
    """Return the images of each row, [up to `columns`, C, H, W]."""
    images, labels = data.images, data.labels
    if labels is None or labels.ndim > 1:
        return [images[first : first + columns] for first in range(0, min(len(images), columns**2), columns)]
    return [images[np.flatnonzero(labels == label)[:columns]] for label in np.unique(labels)[:_ROWS]]


def _tile(image: NDArray[np.uint8], native_levels: int, zoom: int) -> NDArray[np.float32]:
    """Return `image` [C, H, W] in colours [zoom H, zoom W, 3]; a single channel is shown in grey."""
    colours = image if len(image) == 3 else np.repeat(image[:1], 3, axis=0)
    enlarged = colours.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return (np.moveaxis(enlarged, 0, -1) / (native_levels - 1)).astype(np.float32)
