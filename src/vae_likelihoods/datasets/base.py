"""The contract of a data set: it downloads checked files, reads them, and splits the images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray

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
    """

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
        """Return the train, validation and test splits of the files in `folder`.

        Raises:
            SettingError: what was read is no data set, or a split cannot have its size.
        """
        parts = self.read(folder)
        check_names(self.name, parts, [("train",), ("train", "test")])
        check_arrays(self.name, self.native_levels, parts)
        train, rest = parts["train"], np.arange(len(parts["train"].images))
        least = 2 if "test" in parts else 3
        reason = f"it has {len(rest)} images; three splits need at least {least}"
        require(len(rest) >= least, "", self.name, reason)
        if "test" in parts:
            reason = "must be left out, because the source has official test images"
            require(self.test_size is None, "test_size", self.test_size, reason)
            test = Split(parts["test"], "test", np.arange(len(parts["test"].images)))
        else:
            reason = "must be given, because the source has no official test images"
            require(self.test_size is not None, "test_size", None, reason)
            rest, cut = self._cut("test_size", train, rest)
            test = _subset(train, cut)
        rest, cut = self._cut("validation_size", train, rest)
        return {"train": _subset(train, rest), "validation": _subset(train, cut), "test": test}

    def _cut(
        self, setting: str, part: LabelledArrays, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut as many of `indices` off as `setting` says, stratified by class; return the rest and them.

        Both parts are shuffled. A share is one of all images of `part`. Where images belong to groups, the
        size is met as well as whole groups can.
        """
        from sklearn.model_selection import train_test_split  # slow to import, and only needed here

        size, count = getattr(self, setting), len(indices)
        size = size if isinstance(size, int) else max(1, round(size * len(part.images)))
        if part.groups is not None and len(np.unique(part.groups[indices])) < count:
            return self._cut_groups(setting, size, part, indices)
        strata = _strata(part.labels, indices)
        classes = len(np.unique(strata))
        least, most = classes, count - classes
        of = "" if classes == 1 else f" of {classes} classes"
        require(least <= size <= most, setting, size, f"{least} to {most} can be cut from {count} images{of}")
        rest, cut = train_test_split(indices, test_size=size, stratify=strata, random_state=self.split_seed)
        return rest, cut

    def _cut_groups(
        self, setting: str, size: int, part: LabelledArrays, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut whole groups off: one fold of so many that each has about the size."""
        from sklearn.model_selection import StratifiedGroupKFold

        assert part.groups is not None
        groups = part.groups[indices]
        _, counts = np.unique(groups, return_counts=True)
        folds = max(2, round(len(indices) / size))
        reason = (
            f"{len(indices)} images are {len(counts)} groups, the largest of {counts.max()}: they cannot be "
            "cut so that each side has whole groups"
        )
        require(folds <= len(counts) and counts.max() <= len(indices) - size, setting, size, reason)
        strata = _strata(part.labels, indices)
        if np.unique(strata, return_counts=True)[1].min() < folds:
            strata = np.zeros_like(strata)  # too rare a class for one in each fold
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=self.split_seed)
        rest, cut = next(splitter.split(indices, strata, groups))
        shuffled = np.random.default_rng(self.split_seed)
        return shuffled.permutation(indices[rest]), shuffled.permutation(indices[cut])

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


def _strata(labels: NDArray[np.integer[Any]] | None, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the stratum of each of the images `indices`: its class; the same for all if there are none.

    A class of which one image is left cannot be in both parts of a cut. That image is drawn together with
    those of the most frequent class, so it is as likely as any other to be cut off.
    """
    if labels is None or labels.ndim > 1:
        return np.zeros(len(indices), np.int64)
    _, classes, counts = np.unique(labels[indices], return_inverse=True, return_counts=True)
    strata: NDArray[np.int64] = np.where(counts[classes] > 1, classes, counts.argmax())
    return strata


def _subset(part: LabelledArrays, indices: NDArray[np.int64]) -> Split:
    labels = None if part.labels is None else part.labels[indices]
    return Split(LabelledArrays(part.images[indices], labels), "train", indices)


def _require_size(key: str, value: Any) -> None:
    count = type(value) is int and value >= 1
    share = type(value) is float and 0 < value < 1
    require(count or share, key, value, "must be a number of images, 1 or more, or a share between 0 and 1")


def _require_integer(key: str, value: Any, least: int, most: int | None = None) -> None:
    valid = type(value) is int and value >= least and (most is None or value <= most)
    limit = "or more" if most is None else f"to {most}"
    require(valid, key, value, f"must be a whole number, {least} {limit}")
