"""Data sets of one's own in .npy, .npz and HDF5 files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.checking import CHANNELS, check_arrays
from vae_likelihoods.datasets.grouping import digests, joined, numbered
from vae_likelihoods.errors import SettingError, UnavailableError, require
from vae_likelihoods.files import folder_aside, sha256, write_json

Layout = Literal["auto", "NHW", "NHWC", "NCHW"]

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
_MOST_BYTES = 8 * 2**30  # that an array of a compressed file may claim
_INDEX = "index.json"
_ROLES = ("images", "labels", "groups", "test_images", "test_labels")


class ArrayFile(Source):
    """Images of a file of arrays: levels [N, H, W], [N, H, W, C] or [N, C, H, W], with labels or without.

    `download` writes them to the raw folder as .npy files in one layout; `read` maps these. Exact copies, and
    images of one group, stay in one split, unless the file has its own test images.

    Args:
        name: name of the data set.
        path: the file; None is refused when it is needed.
        native_levels: number of values a pixel can take.
        images: name of the array of images in a .npz or HDF5 file; None: ``images``, or the only array there.
        labels: name of an array of classes [N] or factors [N, F], or a .npy file; None: no labels.
        groups: the same for groups [N], of which each stays in one split.
        test_images: the same for the images of an official test split; `test_size` is then None.
        test_labels: the same for their labels.
        layout: ``NHW``, ``NHWC``, ``NCHW``, or ``auto``: found out from the shape, or refused.
        validation_size: images cut for validation, or their share.
        test_size: images cut for the test split, or their share.
        split_seed: seed of the cuts.

    Raises:
        SettingError: a value is refused.
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        native_levels: int = 256,
        images: str | None = None,
        labels: str | None = None,
        groups: str | None = None,
        test_images: str | None = None,
        test_labels: str | None = None,
        layout: Layout = "auto",
        validation_size: float = 0.1,
        test_size: float | None = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(name, native_levels, validation_size, test_size, split_seed)
        require(path is None or isinstance(path, str), "path", path, _NO_PATH)
        require(layout in get_args(Layout), "layout", layout, "must be one of the choices", get_args(Layout))
        self.given, self.layout = path, layout
        asked = zip(_ROLES, (images, labels, groups, test_images, test_labels), strict=True)
        self.asked = {role: where for role, where in asked if where is not None}
        for role, where in self.asked.items():
            require(
                isinstance(where, str) and where != "", role, where, "must be the name of an array, or a file"
            )
        both = ("labels" in self.asked) == ("test_labels" in self.asked)
        missing = "must be given for the test images as for the others, or for neither"
        require(both or "test_images" not in self.asked, "test_labels", test_labels, missing)

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            SettingError: it is not given, not there, or of another kind.
        """
        require(bool(self.given), "path", self.given, _NO_PATH)
        path = Path(str(self.given)).expanduser().absolute()
        require(path.is_file(), "path", self.given, "there is no such file")
        require(path.suffix.lower() in SUFFIXES, "path", self.given, _NO_PATH, SUFFIXES)
        return path

    def download(self, folder: Path) -> list[str]:
        """Write the arrays to `folder` unless they are there; return the names of the files written.

        Raises:
            SettingError: an array is missing, or no images or labels.
        """
        asked = {**self._settings(), "file_sha256": sha256(self.path)}
        if self._index(folder, asked) is not None:
            return []
        arrays, notes = self._arrays()
        check_arrays(self.name, self.native_levels, self._parts(arrays))
        with folder_aside(folder) as aside:
            for role, array in arrays.items():
                np.save(aside / f"{role}.npy", array, allow_pickle=False)
            hashes = {role: sha256(aside / f"{role}.npy") for role in arrays}
            write_json(aside / _INDEX, {**asked, "sha256": hashes, "notes": notes})
        return [*(f"{role}.npy" for role in arrays), _INDEX]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Open what `download` wrote; images are mapped from the file, not read.

        Raises:
            SettingError: it is missing or damaged.
        """
        index = self._index(folder, self._settings())
        if index is None:
            raise self.not_downloaded(f"{folder} has not what was asked for, or it is damaged")
        return self._parts(
            {
                role: np.load(folder / f"{role}.npy", mmap_mode="r", allow_pickle=False)
                for role in index["sha256"]
            }
        )

    def notes(self, folder: Path) -> list[str]:
        """Return which arrays were taken, and how their axes were read."""
        return list((self._index(folder, self._settings()) or {}).get("notes", []))

    def _parts(self, arrays: Mapping[str, Any]) -> dict[str, LabelledArrays]:
        if "test_images" in arrays:
            test = LabelledArrays(arrays["test_images"], arrays.get("test_labels"))
            return {"train": LabelledArrays(arrays["images"], arrays.get("labels")), "test": test}
        together = [numbered(digests(arrays["images"]))] if arrays["images"].ndim == 4 else []
        if "groups" in arrays:
            together.append(numbered(arrays["groups"]))
        groups = joined(*together) if together else None
        return {"train": LabelledArrays(arrays["images"], arrays.get("labels"), groups)}

    def _arrays(self) -> tuple[dict[str, Any], list[str]]:
        """Return the arrays that are asked for, images as [N, C, H, W], and a note on each."""
        arrays, notes = {}, []
        with _opened(self.path) as stored:
            for role in _ROLES:
                if role != "images" and role not in self.asked:
                    continue
                where, array = self._array(role, stored)
                note = f"{role} are {where}, {array.dtype} of shape {list(array.shape)}"
                if role in ("images", "test_images"):
                    array, axes = self._channels_first(role, array)
                    note += f", taken as {axes}"
                arrays[role] = array
                notes.append(note)
        if "groups" in arrays:
            fits = arrays["groups"].shape == arrays["images"].shape[:1]
            shape = list(arrays["groups"].shape)
            require(
                fits,
                "groups",
                self.asked["groups"],
                f"has the shape {shape}, and one group an image is needed",
            )
        return arrays, notes

    def _array(self, role: str, stored: Mapping[str, Any]) -> tuple[str, Any]:
        where = self.asked.get(role)
        if where is not None and where.lower().endswith(".npy") and where not in stored:
            path = Path(where).expanduser()
            path = path if path.is_absolute() or path.is_file() else self.path.parent / path
            require(path.is_file(), role, where, "there is no such file, nor beside the images")
            with _opened(path) as alone:
                return where, next(iter(alone.values()))
        if where is None:
            where = "images" if "images" in stored or len(stored) != 1 else next(iter(stored))
        require(where in stored, role, where, f"{self.path.name} has no such array", stored)
        return where, stored[where]

    def _channels_first(self, role: str, images: Any) -> tuple[Any, str]:
        shape, layout = list(images.shape), self.layout
        if layout == "auto":
            last, first = (images.ndim == 4 and images.shape[axis] in CHANNELS for axis in (-1, 1))
            reason = f"{role} have the shape {shape}, which does not tell where the channels are"
            require(images.ndim == 3 or last != first, "layout", "auto", reason, get_args(Layout)[1:])
            layout = "NHW" if images.ndim == 3 else "NHWC" if last else "NCHW"
        require(images.ndim == len(layout), "layout", layout, f"{role} have the shape {shape}")
        if layout == "NHW":
            return images[:, None], layout
        return np.moveaxis(images, -1, 1) if layout == "NHWC" else images, layout

    def _settings(self) -> dict[str, Any]:
        settings = {"path": str(self.given), "layout": self.layout, "asked": self.asked}
        return {**settings, "native_levels": self.native_levels}

    def _index(self, folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the index of a raw folder; None if it is not whole, or not of what is `asked`."""
        try:
            index: dict[str, Any] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            whole = all(index[key] == value for key, value in asked.items())
            whole = whole and all(
                sha256(folder / f"{role}.npy") == each for role, each in index["sha256"].items()
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return index if whole else None


_NO_PATH = "must be the file of the arrays, such as dataset.path=images.npz"


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a file by name; nothing is unpickled, and no array is read before it is asked for.

    Raises:
        SettingError: it is damaged, or an array claims more than 8 GiB.
        UnavailableError: it is HDF5, and h5py is not installed.
    """
    try:
        if path.suffix.lower() == ".npy":
            yield {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
        elif path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                claimed = max((each.file_size for each in archive.infolist()), default=0)
            reason = f"an array claims {claimed:,} bytes, and {_MOST_BYTES:,} are the most"
            require(claimed <= _MOST_BYTES, "path", path, f"{reason}; unpack it to .npy files")
            with np.load(path, allow_pickle=False) as archive:
                yield archive
        else:
            with _hdf5(path) as file:
                yield file
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError("path", path, f"cannot be read ({' '.join(str(error).split())})") from error


@contextmanager
def _hdf5(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import h5py
    except ImportError:
        raise UnavailableError("HDF5 needs h5py: .venv/bin/pip install -c constraints.txt h5py") from None
    names: list[str] = []

    def keep(name: str, item: Any) -> None:  # links to other files are not followed
        if isinstance(item, h5py.Dataset) and item.shape:
            names.append(name)
            reason = f"{name} claims {item.nbytes:,} bytes, and {_MOST_BYTES:,} are the most"
            require(item.nbytes <= _MOST_BYTES, "path", path, reason)

    with h5py.File(path) as file:
        file.visititems(keep)
        yield _Arrays(file, names)


class _Arrays(Mapping[str, Any]):
    """The arrays of an open HDF5 file, each read when it is asked for."""

    def __init__(self, file: Any, names: list[str]) -> None:
        self.file, self.names = file, names

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        return self.file[name][()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
