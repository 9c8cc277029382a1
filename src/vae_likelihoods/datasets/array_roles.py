"""What the arrays of a file are used for: their layout, their notes, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.checking import CHANNELS
from vae_likelihoods.datasets.large_arrays import write_blocks
from vae_likelihoods.datasets.manifest import SPLITS
from vae_likelihoods.datasets.stored_arrays import StoredArray
from vae_likelihoods.errors import require
from vae_likelihoods.files import shown

Layout = Literal["auto", "NHW", "NHWC", "NCHW"]

_MUCH = 100  # bytes for one in the file, from which the data card says it


@dataclass(frozen=True)
class Chosen:
    """An array that plays a role."""

    where: str
    stored: StoredArray
    layout: str = ""  # of images

    @property
    def note(self) -> str:
        """Return what it is, in words."""
        what = f"{shown(self.where)}, {self.stored.dtype} of shape {list(self.stored.shape)}"
        fold = self.stored.claimed // max(1, self.stored.packed)
        packed = f", packed {fold:,} to 1" if fold >= _MUCH else ""
        return what + (f", taken as {self.layout}" if self.layout else "") + packed

    def write(self, path: Path) -> None:
        """Write the values as .npy, images as [N, C, H, W]."""
        if not self.layout:
            np.save(path, _plain(self.stored.whole()), allow_pickle=False)
            return
        blocks = (_channels_first(block, self.layout) for block in self.stored.blocks())
        shape = _channels_first(np.empty((0, *self.stored.shape[1:])), self.layout).shape[1:]
        write_blocks(path, shape, self.stored.dtype, blocks)


def _channels_first(images: NDArray[Any], layout: str) -> NDArray[Any]:
    if layout == "NHW":
        return images[:, None]
    return np.moveaxis(images, -1, 1) if layout == "NHWC" else images


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return values as numbers or as texts, which lose the spaces at their ends."""
    if values.dtype.kind in "OS":
        texts = [
            each.decode("utf-8", "backslashreplace") if isinstance(each, bytes) else str(each)
            for each in values.ravel()
        ]
        values = np.array(texts, np.str_).reshape(values.shape)
    return np.strings.strip(values) if values.dtype.kind == "U" else values


def split_numbers(key: str, where: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place in `SPLITS` of each value, which is that place or the name.

    Raises:
        SettingError: a value is neither, or a split is empty.
    """
    choices: list[Any] = list(SPLITS) if values.dtype.kind == "U" else list(range(len(SPLITS)))
    others = values[~np.isin(values, choices)]
    reason = f"has the value {others[:1]}; it must have {', '.join(SPLITS)}, or 0, 1, 2"
    require(len(others) == 0, key, where, reason)
    numbers = np.array([choices.index(value) for value in values.tolist()], np.int64)
    for number, name in enumerate(SPLITS):
        require(bool((numbers == number).any()), key, where, f"has no image of {name}")
    return numbers


def layout_of(role: str, where: str, array: StoredArray, layout: Layout) -> str:
    """Return the layout of images, found out from their shape if it is ``auto``.

    Raises:
        SettingError: the shape has another layout, or does not tell; or they are no numbers.
    """
    shape, numbers = list(array.shape), array.dtype.kind in "biuf"
    require(numbers, role, where, f"they are {array.dtype}, not numbers")
    found: str = layout
    if layout == "auto":
        last, first = (len(shape) == 4 and shape[axis] in CHANNELS for axis in (-1, 1))
        reason = f"{role} have the shape {shape}, which does not tell where the channels are"
        require(len(shape) == 3 or last != first, "layout", "auto", reason, get_args(Layout)[1:])
        found = "NHW" if len(shape) == 3 else "NHWC" if last else "NCHW"
    require(len(shape) == len(found), "layout", found, f"{role} have the shape {shape}")
    return found
