"""Faults of .gz files, in one form."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refusing_damaged_gz() -> Iterator[None]:
    """Raise ValueError where a .gz that is read in the block is truncated or damaged, or is no .gz."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"truncated or damaged .gz ({error})") from error
