"""Data sets of one's own in .npy, .npz and HDF5 files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.array_roles import Chosen, Layout, layout_of, split_numbers
from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.checking import check_arrays
from vae_likelihoods.datasets.grouping import digests, in_words, joined, numbered
from vae_likelihoods.datasets.large_arrays import require_room
from vae_likelihoods.datasets.manifest import SPLITS
from vae_likelihoods.datasets.stored_arrays import SUFFIXES, Arrays, StoredArray, opened
from vae_likelihoods.errors import require
from vae_likelihoods.files import folder_aside, sha256, shown, write_json

_MOST_BYTES = 8 * 2**30  # that the packed arrays of a file may claim, taken together
_INDEX = "index.json"
_ROLES = ("images", "labels", "groups", "splits", "test_images", "test_labels")
_NO_PATH = "must be the file of the arrays, such as dataset.path=images.npz"


class ArrayFile(Source):
    """Images of a file of arrays: levels [N, H, W], [N, H, W, C] or [N, C, H, W], with labels or without.

    `download` writes them to the raw folder as .npy files in one layout; `read` maps these. Exact copies, and
    images of one group, stay in one split, unless the file says which images are in which.

    Args:
        name: name of the data set.
        path: the file; None is refused when it is needed.
        native_levels: number of values a pixel can take.
        images: name of the array of images in a .npz or HDF5 file; None: ``images``, or the only array there.
        labels: name of an array of classes [N] or factors [N, F], or a .npy file; None: no labels.
        groups: the same for groups [N], of which each stays in one split.
        splits: the same for the split of each image [N]: train, validation and test, or 0, 1 and 2; nothing
            is cut then.
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
        splits: str | None = None,
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
        asked = zip(_ROLES, (images, labels, groups, splits, test_images, test_labels), strict=True)
        self.asked = {role: where for role, where in asked if where is not None}
        for role, where in self.asked.items():
            require(
                isinstance(where, str) and where != "", role, where, "must be the name of an array, or a file"
            )
        self.cut_by = "splits" if splits is not None else "" if groups is None else "groups"
        both = ("labels" in self.asked) == ("test_labels" in self.asked)
        missing = "must be given for the test images as for the others, or for neither"
        require(both or "test_images" not in self.asked, "test_labels", test_labels, missing)
        once = not {"splits", "test_images"} <= set(self.asked)
        require(once, "splits", splits, "says which images are test images; leave out test_images")

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
            SettingError: an array is missing, or no images or labels, or there is no room.
        """
        beside = {role: sha256(path) for role in self.asked if (path := self._beside(role)) is not None}
        asked = {**self._settings(), "file_sha256": sha256(self.path), "beside_sha256": beside}
        if self._index(folder, asked) is not None:
            return []
        with opened(self.path) as stored:
            roles = [role for role in _ROLES if role == "images" or role in self.asked]
            chosen = {role: self._chosen(role, stored) for role in roles}
            self._require_sizes(chosen, folder)
            with folder_aside(folder) as aside:
                for role, each in chosen.items():
                    each.write(aside / f"{role}.npy")
                arrays = _mapped(aside, roles)
                check_arrays(self.name, self.native_levels, _parts(arrays))
                self._check_splits(arrays)
                hashes = {role: sha256(aside / f"{role}.npy") for role in roles}
                notes = [f"{role} are {each.note}" for role, each in chosen.items()]
                write_json(aside / _INDEX, {**asked, "sha256": hashes, "notes": notes})
        return [*(f"{role}.npy" for role in roles), _INDEX]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Open what `download` wrote; images are mapped from the file, not read.

        Raises:
            SettingError: it is missing or damaged.
        """
        arrays = self._arrays(folder)
        parts, together = _parts(arrays), [numbered(digests(arrays["images"]))]
        if "groups" in arrays:
            together.append(numbered(arrays["groups"]))
        return {**parts, "train": replace(parts["train"], groups=joined(*together))}

    def splits(self, folder: Path) -> dict[str, Split]:
        """Return the splits: those of the array `splits`, shuffled, if there is one. See `Source.splits`."""
        if "splits" not in self.asked:
            return super().splits(folder)
        arrays, draw = self._arrays(folder), np.random.default_rng(self.split_seed)
        part = _parts(arrays)["train"]
        numbers = split_numbers("splits", self.asked["splits"], arrays["splits"])
        places = [draw.permutation(np.flatnonzero(numbers == number)) for number in range(len(SPLITS))]
        return {name: Split(part, "train", rows, rows) for name, rows in zip(SPLITS, places, strict=True)}

    def notes(self, folder: Path) -> list[str]:
        """Return which arrays were taken, how their axes were read, and the groups."""
        notes = list((self._index(folder, self._settings()) or {}).get("notes", []))
        if notes and "groups" in self.asked:
            notes.append(in_words(_mapped(folder, ["groups"])["groups"]))
        unused = "the splits are those of the array; validation_size and test_size are not used"
        return [*notes, unused] if "splits" in self.asked else notes

    def _arrays(self, folder: Path) -> dict[str, NDArray[Any]]:
        index = self._index(folder, self._settings())
        if index is None:
            raise self.not_downloaded(f"{folder} has not what was asked for, or it is damaged")
        return _mapped(folder, index["sha256"])

    def _chosen(self, role: str, stored: Arrays) -> Chosen:
        where, array = self._stored(role, stored)
        if role not in ("images", "test_images"):
            return Chosen(where, array)
        return Chosen(where, array, layout_of(role, where, array, self.layout))

    def _beside(self, role: str) -> Path | None:
        """Return the .npy file that is named for a role, relative to the working folder or to the images."""
        where = self.asked.get(role)
        if where is None or not where.lower().endswith(".npy"):
            return None
        path = Path(where).expanduser()
        path = path if path.is_absolute() or path.is_file() else self.path.parent / path
        require(path.is_file(), role, where, "there is no such file, nor beside the images")
        return path

    def _stored(self, role: str, stored: Arrays) -> tuple[str, StoredArray]:
        where = self.asked.get(role)
        if where is not None and where not in stored and (path := self._beside(role)) is not None:
            with opened(path) as alone:
                return where, next(iter(alone.values()))()
        if where is None:
            where = "images" if "images" in stored or len(stored) != 1 else next(iter(stored))
        reason = f"{self.path.name} has no such array"
        require(where in stored, role, where, reason, map(shown, stored))
        return where, stored[where]()

    def _require_sizes(self, chosen: Mapping[str, Chosen], folder: Path) -> None:
        """Refuse lists that do not fit the images, and arrays that are too large."""
        count = chosen["images"].stored.shape[0]
        for role in ("groups", "splits"):
            if role in chosen:
                shape = chosen[role].stored.shape
                reason = f"has the shape {list(shape)}, and one value an image is needed: [{count}]"
                require(shape == (count,), role, chosen[role].where, reason)
        stored = [each.stored for each in chosen.values()]
        packed = sum(each.claimed for each in stored if each.packed < each.claimed)
        reason = f"packed arrays claim {packed:,} bytes, and {_MOST_BYTES:,} are the most"
        require(packed <= _MOST_BYTES, "path", self.path, f"{reason}; unpack them to .npy files")
        require_room("path", self.path, folder, sum(each.claimed for each in stored))

    def _check_splits(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Refuse splits that are none, and a group that is in two of them."""
        if "splits" not in arrays:
            return
        numbers = split_numbers("splits", self.asked["splits"], arrays["splits"])
        if "groups" in arrays:
            values, groups = np.unique(arrays["groups"], return_inverse=True)
            pairs = np.unique(groups * len(SPLITS) + numbers) // len(SPLITS)
            torn = pairs[1:][pairs[1:] == pairs[:-1]]
            reason = f"group {values[torn[:1]]} is in more than one split"
            require(len(torn) == 0, "splits", self.asked["splits"], reason)

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


def _mapped(folder: Path, roles: Iterable[str]) -> dict[str, NDArray[Any]]:
    return {role: np.load(folder / f"{role}.npy", mmap_mode="r", allow_pickle=False) for role in roles}


def _parts(arrays: Mapping[str, NDArray[Any]]) -> dict[str, LabelledArrays]:
    parts = {"train": _part(arrays, "images", "labels")}
    return parts | ({"test": _part(arrays, "test_images", "test_labels")} if "test_images" in arrays else {})


def _part(arrays: Mapping[str, NDArray[Any]], images: str, labels: str) -> LabelledArrays:
    """Return a part, whose images are named by their places."""
    names = [f"{images}[{place}]" for place in range(len(arrays[images]))]
    return LabelledArrays(arrays[images], arrays.get(labels), names=names)
