"""Parse the IDX format of MNIST and similar data sets (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.gz import refusing_damaged_gz

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_idx(content: bytes) -> NDArray[Any]:
    """Return the array that `content` holds, in the machine's byte order.

    The header is two zero bytes, one byte for the type, one for the number of dimensions, and each
    dimension as a big-endian 32-bit integer; the values follow, big-endian, the last index fastest.

    Raises:
        ValueError: if this is not an IDX file, or its length does not match its header.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
        [7, 8, 9]
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or content[3] == 0:
        raise ValueError(f"not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    dtype, start = np.dtype(_TYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"truncated IDX header: {len(content)} of {start} bytes")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        problem = "truncated IDX file" if len(content) < expected else "IDX file with trailing bytes"
        raise ValueError(f"{problem}: {len(content)} bytes where shape {shape} needs {expected}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_idx(path: Path) -> NDArray[Any]:
    """Parse the file at `path`, decompressing it first if its name ends in ``.gz``.

    Raises:
        ValueError: see `parse_idx`; also if a .gz is truncated or damaged, or is none.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        with refusing_damaged_gz():
            content = gzip.decompress(content)
    return parse_idx(content)
