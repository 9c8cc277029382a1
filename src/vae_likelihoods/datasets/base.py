"""The contract of a data set: it downloads checked files, reads them, and splits the images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray

from vae_likelihoods.datasets import cutting
from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.checking import check_arrays, check_names
from vae_likelihoods.errors import SettingError, require, under

if TYPE_CHECKING:
    from vae_likelihoods.datasets.pictures import Decoding

KEY = "dataset"  # the section of a configuration that describes a source


class Source(ABC):
    """One data set, split into training, validation and test images.

    A subclass says how the files are downloaded (`download`) and read (`read`). Official test images stay
    the test split. The other splits are cut from the training part, stratified by class if there are classes.

    Args:
        name: name of the data set, and of its file in ``conf/dataset``.
        native_levels: number of values a pixel can take, 2 .. 256.
        validation_size: images cut from the training part for validation, or their share of it.
        test_size: images cut for the test split, or their share; None where the source has an official one.
        split_seed: seed of the cuts.

    Attributes:
        cut_by: what the user gave that decides which images are in one split: groups or splits; else empty.
    """

    cut_by: Literal["", "groups", "splits"] = ""

    def __init__(
        self, name: str, native_levels: int, validation_size: float, test_size: float | None, split_seed: int
    ) -> None:
        _require_integer("native_levels", native_levels, 2, 256)
        _require_size("validation_size", validation_size)
        _require_integer("split_seed", split_seed, 0, 2**32 - 1)
        if test_size is not None:
            _require_size("test_size", test_size)
        self.name, self.native_levels = name, native_levels
        self.validation_size, self.test_size, self.split_seed = validation_size, test_size, split_seed

    @abstractmethod
    def download(self, folder: Path) -> list[str]:
        """Download checked files into `folder`; return the names of those that were missing or damaged."""

    @abstractmethod
    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Return the source's own parts: ``train`` and, if it has an official one, ``test``.

        A data set without classes has None as labels. `splits` checks what is returned.

        Raises:
            SettingError: if a file of `download` is missing or damaged.
        """

    def notes(self, folder: Path) -> list[str]:
        """Return what `download` changed or left out, a sentence each, for the data card; nothing here."""
        return []

    def decoding(self, channels: int) -> Decoding | None:
        """Return how image files become images of so many channels; here None: there are no such files."""
        return None

    def splits(self, folder: Path) -> dict[str, Split]:
        """Return the train, validation and test splits of `folder`, whose images are not read yet.

        Raises:
            SettingError: what was read is no data set, or a split cannot have its size.
        """
        parts = self.read(folder)
        check_names(self.name, parts, [("train",), ("train", "test")])
        check_arrays(self.name, self.native_levels, parts)
        train, rest = parts["train"], np.arange(len(parts["train"].images))
        self._require_enough(train, 2 if "test" in parts else 3)
        if "test" in parts:
            reason = "must be left out, because the source has official test images"
            require(self.test_size is None, "test_size", self.test_size, reason)
            test = Split(parts["test"], "test", np.arange(len(parts["test"].images)))
        else:
            reason = "must be given, because the source has no official test images"
            require(self.test_size is not None, "test_size", None, reason)
            rest, cut = self._cut("test_size", train, rest)
            test = Split(train, "train", cut, cut, self._size("test_size", train))
        rest, cut = self._cut("validation_size", train, rest)
        validation = Split(train, "train", cut, cut, self._size("validation_size", train))
        return {"train": Split(train, "train", rest, rest), "validation": validation, "test": test}

    def _require_enough(self, train: LabelledArrays, least: int) -> None:
        count = len(train.images)
        reason = f"it has {count} images; three splits need at least {least}"
        require(count >= least, "", self.name, reason)
        if train.groups is not None:
            groups = len(np.unique(train.groups))
            reason = f"its {count} images are {groups} groups, of which copies are one; three splits need"
            require(groups >= least, "", self.name, f"{reason} at least {least} groups")

    def _size(self, setting: str, part: LabelledArrays) -> int:
        """Return how many images are to be cut; a share is one of all images of `part`."""
        size = getattr(self, setting)
        return size if isinstance(size, int) else max(1, round(size * len(part.images)))

    def _cut(
        self, setting: str, part: LabelledArrays, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut as many of `indices` off as `setting` says; return the rest and them. See `cutting.cut`."""
        spared = 2 if setting == "test_size" else 1  # validation is cut from the rest
        return cutting.cut(setting, self._size(setting, part), part, indices, self.split_seed, spared)

    def not_downloaded(self, problem: str) -> SettingError:
        """Return an error that names a problem of the raw files and the command that repairs them."""
        command = f".venv/bin/python pipelines/download.py dataset={self.name}"
        return SettingError("", self.name, f"{problem}; run `{command}` first")


def build(config: Mapping[str, Any]) -> Source:
    """Return the source that a file of ``conf/dataset`` describes.

    Raises:
        SettingError: if a value is refused.
    """
    factory = instantiate(config, _partial_=True)  # Hydra would wrap an error that the class raises
    with under(KEY):
        source: Source = factory()
    return source


def _require_size(key: str, value: Any) -> None:
    count = type(value) is int and value >= 1
    share = type(value) is float and 0 < value < 1
    require(count or share, key, value, "must be a number of images, 1 or more, or a share between 0 and 1")


def _require_integer(key: str, value: Any, least: int, most: int | None = None) -> None:
    valid = type(value) is int and value >= least and (most is None or value <= most)
    limit = "or more" if most is None else f"to {most}"
    require(valid, key, value, f"must be a whole number, {least} {limit}")
