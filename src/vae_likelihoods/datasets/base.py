"""The contract of a data set: it downloads checked files, reads them, and splits the images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray

from vae_likelihoods.errors import SettingError, require, under

KEY = "dataset"  # the section of a configuration that describes a source


@dataclass(frozen=True)
class LabelledArrays:
    """Images at native levels and their classes."""

    images: NDArray[np.uint8]  # [N, C, H, W], 0 .. native_levels - 1
    labels: NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class Split:
    """The images of one split, and their positions in the source."""

    data: LabelledArrays
    taken_from: str  # the source's own part: "train" or "test"
    indices: NDArray[np.int64]  # [N], positions in that part


class Source(ABC):
    """One data set, split into training, validation and test images.

    A subclass says how the files are downloaded (`download`) and read (`read`). Official test images stay
    the test split. The other splits are cut from the training part, stratified by class.

    Args:
        name: name of the data set, and of its file in ``conf/dataset``.
        native_levels: number of values a pixel can take, 2 .. 256.
        validation_size: images cut from the training part for validation.
        test_size: images cut for the test split; None where the source has an official one.
        split_seed: seed of the cuts.
    """

    def __init__(
        self, name: str, native_levels: int, validation_size: int, test_size: int | None, split_seed: int
    ) -> None:
        _require_integer("native_levels", native_levels, 2, 256)
        _require_integer("validation_size", validation_size, 1)
        _require_integer("split_seed", split_seed, 0, 2**32 - 1)
        if test_size is not None:
            _require_integer("test_size", test_size, 1)
        self.name, self.native_levels = name, native_levels
        self.validation_size, self.test_size, self.split_seed = validation_size, test_size, split_seed

    @abstractmethod
    def download(self, folder: Path) -> list[str]:
        """Download checked files into `folder`; return the names of those that were missing or damaged."""

    @abstractmethod
    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Return the source's own parts: ``train`` and, if it has an official one, ``test``.

        Raises:
            SettingError: if a file of `download` is missing or damaged.
        """

    def splits(self, folder: Path) -> dict[str, Split]:
        """Return the train, validation and test splits of the files in `folder`."""
        parts = self.read(folder)
        for part in parts.values():
            self._check(part)
        train, rest = parts["train"], np.arange(len(parts["train"].labels))
        if "test" in parts:
            reason = "must be left out, because the source has official test images"
            require(self.test_size is None, "test_size", self.test_size, reason)
            test = Split(parts["test"], "test", np.arange(len(parts["test"].labels)))
        else:
            reason = "must be given, because the source has no official test images"
            require(self.test_size is not None, "test_size", None, reason)
            rest, cut = self._cut("test_size", train.labels, rest)
            test = _subset(train, cut)
        rest, cut = self._cut("validation_size", train.labels, rest)
        return {"train": _subset(train, rest), "validation": _subset(train, cut), "test": test}

    def _cut(
        self, setting: str, labels: NDArray[np.int64], indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut as many of `indices` off as `setting` says, stratified by class; return the rest and them.

        Both parts are shuffled.
        """
        from sklearn.model_selection import train_test_split  # slow to import, and only needed here

        size, strata = getattr(self, setting), labels[indices]
        classes = len(np.unique(strata))
        least, most = classes, len(indices) - classes
        reason = f"{least} to {most} can be cut from {len(indices)} images of {classes} classes"
        require(least <= size <= most, setting, size, reason)
        rest, cut = train_test_split(indices, test_size=size, stratify=strata, random_state=self.split_seed)
        return rest, cut

    def _check(self, part: LabelledArrays) -> None:
        """Refuse images and labels that do not match each other or `native_levels`."""
        images, labels = part.images, part.labels
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise SettingError(
                "", self.name, f"images {images.shape} and labels {labels.shape} do not fit together"
            )
        highest = int(images.max())
        require(
            highest < self.native_levels,
            "native_levels",
            self.native_levels,
            f"the images of {self.name} reach level {highest}",
        )

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


def _subset(part: LabelledArrays, indices: NDArray[np.int64]) -> Split:
    return Split(LabelledArrays(part.images[indices], part.labels[indices]), "train", indices)


def _require_integer(key: str, value: Any, least: int, most: int | None = None) -> None:
    valid = type(value) is int and value >= least and (most is None or value <= most)
    limit = "or more" if most is None else f"to {most}"
    require(valid, key, value, f"must be a whole number, {least} {limit}")
