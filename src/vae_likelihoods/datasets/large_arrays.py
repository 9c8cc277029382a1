"""Arrays that need not fit into memory: written block by block, once it is known that the disk has room."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.errors import require

BLOCK = 2**25
"""Bytes that are held at once where an array is read, cut or written; one image is held in any case."""


def at_once(shape: Sequence[int], itemsize: int = 1) -> int:
    """Return how many images of this shape fit into a block, 1 or more."""
    size = itemsize
    for length in shape:
        size *= max(1, int(length))
    return max(1, BLOCK // size)


def write_blocks(path: Path, shape: Sequence[int], dtype: Any, blocks: Iterable[NDArray[Any]]) -> int:
    """Write blocks [n, *shape] one after another as one .npy array; return its length.

    The bytes are those of `numpy.save`. The array may turn out shorter than was thought.
    """
    count = 0
    with path.open("wb") as handle:
        _write_header(handle, (count, *shape), dtype)
        start = handle.tell()
        for block in blocks:
            handle.write(np.ascontiguousarray(block, dtype).data)
            count += len(block)
        handle.seek(0)
        _write_header(handle, (count, *shape), dtype)  # numpy leaves room for a length of any digits
        assert handle.tell() == start
    return count


def _write_header(handle: Any, shape: Sequence[int], dtype: Any) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": tuple(int(length) for length in shape)}
    np.lib.format.write_array_header_1_0(handle, header)


def require_room(key: str, value: Any, folder: Path, size: int) -> None:
    """Refuse a setting whose result, of `size` bytes, does not fit on the disk of `folder` (SettingError)."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    require(size <= free, key, value, f"it needs {size:,} bytes on disk, and {free:,} are free")
