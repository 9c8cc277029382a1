"""The arrays of a .npy, .npz or HDF5 file: what they claim to be, and their values block by block.

Nothing is unpickled, no other file is read than the one that is named, and no array before it is asked for.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.large_arrays import at_once
from vae_likelihoods.errors import SettingError, UnavailableError

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
_MOST_CHUNK = 2**28  # bytes that HDF5 unpacks at once
_DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@dataclass(frozen=True)
class StoredArray:
    """An array in a file.

    Attributes:
        shape: as the file claims, of one axis or more.
        dtype: of its values.
        packed: bytes that it has in the file.
        read: returns the values from one place on the first axis to another; from front to back, once.
        together: how many places the file packs together.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    packed: int
    read: Callable[[int, int], NDArray[Any]]
    together: int = 1

    @property
    def claimed(self) -> int:
        """Return the bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the values, so many at once as fit into a block, [n, ...]."""
        count = at_once(self.shape[1:], self.dtype.itemsize)
        count -= count % self.together if count > self.together else 0
        for start in range(0, self.shape[0], count):
            yield self.read(start, min(self.shape[0], start + count))

    def whole(self) -> NDArray[Any]:
        """Return all values."""
        return self.read(0, self.shape[0])


Arrays = Mapping[str, Callable[[], StoredArray]]


@contextmanager
def opened(path: Path) -> Iterator[Arrays]:
    """Yield the arrays of a file by name.

    Raises:
        SettingError: the file is damaged, or has an array that is not read; also where values are read.
        UnavailableError: it is HDF5, and h5py is not installed.
    """
    if path.suffix.lower() == ".npy":
        with _reading(path):
            stored = _npy(path)
        yield {path.stem: lambda: stored}
        return
    zipped = path.suffix.lower() == ".npz"
    with ExitStack() as stack:
        with _reading(path):
            file = stack.enter_context(zipfile.ZipFile(path) if zipped else _hdf5(path))
            names = _members(file) if zipped else _data_sets(file)
        read = partial(_member, stack) if zipped else _data_set
        yield {name: partial(read, path, file, name) for name in names}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Refuse the file if what is read in the block is damaged."""
    try:
        yield
    except (SettingError, UnavailableError):
        raise
    except MemoryError as error:
        raise SettingError("path", path, "it needs more memory than there is") from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise SettingError("path", path, f"cannot be read ({reason})") from error


def _npy(path: Path) -> StoredArray:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    _require_axes(path.stem, array.shape)
    return StoredArray(array.shape, array.dtype, array.nbytes, lambda start, end: array[start:end])


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _member(stack: ExitStack, path: Path, archive: zipfile.ZipFile, name: str) -> StoredArray:
    """Return an array of a .npz, which stays open until the stack ends."""
    with _reading(path):
        about = archive.getinfo(f"{name}.npy")
        member = _Member(path, stack.enter_context(archive.open(about)))
        _require_axes(name, member.shape)
        stored = StoredArray(member.shape, member.dtype, about.compress_size, member.read)
        held = about.file_size - member.handle.tell()
        if held != stored.claimed:
            raise ValueError(
                f"{name} has {held:,} bytes, and its shape {stored.shape} needs {stored.claimed:,}"
            )
    return stored


class _Member:
    """The values of an array of a .npz, unpacked as they are asked for; in Fortran's order, all at once."""

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path, self.handle = path, handle
        versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        self.shape, self._in_fortran_order, self.dtype = versions[np.lib.format.read_magic(handle)](handle)
        self._whole: NDArray[Any] | None = None
        if self.dtype.hasobject:
            raise ValueError("it has Python's objects")

    def read(self, start: int, end: int) -> NDArray[Any]:
        """Return the values from `start`, the end of the last call, to `end`."""
        with _reading(self.path):
            if not self._in_fortran_order:
                return self._next((end - start, *self.shape[1:]))
            if self._whole is None:
                self._whole = self._next(self.shape[::-1]).T
            return self._whole[start:end]

    def _next(self, shape: tuple[int, ...]) -> NDArray[Any]:
        content = self.handle.read(math.prod(shape) * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(shape)


def _hdf5(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise UnavailableError("HDF5 needs h5py: .venv/bin/pip install -c constraints.txt h5py") from None
    return h5py.File(path)


def _data_sets(file: Any) -> list[str]:
    """Return the names of the arrays in a HDF5 file, and those of links to other files, which are refused."""
    import h5py

    names: list[str] = []

    def keep(name: str, item: Any) -> None:  # links are not followed
        if isinstance(item, h5py.Dataset) and item.shape:
            names.append(name)

    def keep_leaving(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            names.append(name)

    file.visititems(keep)
    file.visititems_links(keep_leaving)
    return names


def _data_set(path: Path, file: Any, name: str) -> StoredArray:
    """Return an array of a HDF5 file, whose values lie in that file."""
    import h5py

    with _reading(path):
        if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{name} is a link to another file; copy its values into this one")
        found = file[name]
        if found.is_virtual or found.external:
            raise ValueError(f"the values of {name} lie in other files; copy them into this one")
        packed = found.id.get_storage_size()
        if packed == 0 and found.size > 0:
            raise ValueError(f"{name} claims {found.nbytes:,} bytes, and none of them were ever written")
        chunk = math.prod(found.chunks or ()) * found.dtype.itemsize
        if chunk > _MOST_CHUNK:
            raise ValueError(f"{name} has chunks of {chunk:,} bytes, and {_MOST_CHUNK:,} are the most")

    def read(start: int, end: int) -> NDArray[Any]:
        with _reading(path):
            values: NDArray[Any] = found[start:end]
            return values

    together = found.chunks[0] if found.chunks else 1
    return StoredArray(found.shape, found.dtype, packed, read, together)


def _require_axes(name: str, shape: tuple[int, ...]) -> None:
    if not shape or min(shape) < 0:
        raise ValueError(f"{name} has the shape {shape}, which is that of no array")
