"""A source of images: it downloads checked bytes, reads them, and says which image is in which split."""

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

KEY = "dataset"  # where a source stands in a configuration


@dataclass(frozen=True)
class Labelled:
    """Images at native levels and their classes."""

    images: NDArray[np.uint8]  # [N, C, H, W], 0 .. native_levels - 1
    labels: NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class Split:
    """A part of a source, and where in the source it was taken from."""

    data: Labelled
    taken_from: str  # the source's own part: "train" or "test"
    indices: NDArray[np.int64]  # [N], positions in that part


class Source(ABC):
    """One data set: where its bytes are and which of its images are for training, validation and test.

    A leaf says how bytes are brought (`download`) and read (`read`). Official test images stay the test
    split; what a source does not split itself is cut from its training part, stratified by class.

    Args:
        name: name of the data set, that of its file in ``conf/dataset``.
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
        """Bring checked bytes into `folder`; return the names of the files that were not there yet."""

    @abstractmethod
    def read(self, folder: Path) -> dict[str, Labelled]:
        """Return the source's own parts: ``train`` and, if it has an official one, ``test``.

        Raises:
            SettingError: if `folder` does not hold what `download` leaves there.
        """

    def splits(self, folder: Path) -> dict[str, Split]:
        """Return the train, validation and test splits of the bytes in `folder`."""
        parts = self.read(folder)
        for part in parts.values():
            self._check(part)
        train, rest = parts["train"], np.arange(len(parts["train"].labels))
        if "test" in parts:
            require(
                self.test_size is None,
                "test_size",
                self.test_size,
                "the official test images stay it",
            )
            test = Split(parts["test"], "test", np.arange(len(parts["test"].labels)))
        else:
            require(
                self.test_size is not None,
                "test_size",
                None,
                "this source has no official test images",
            )
            rest, cut = self._cut("test_size", train.labels, rest)
            test = _take(train, cut)
        rest, cut = self._cut("validation_size", train.labels, rest)
        return {"train": _take(train, rest), "validation": _take(train, cut), "test": test}

    def _cut(
        self, which: str, labels: NDArray[np.int64], rest: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut `which` images off `rest`, stratified by class; both parts come back shuffled."""
        from sklearn.model_selection import train_test_split  # a second to import; only this needs it

        size, classes = getattr(self, which), len(np.unique(labels[rest]))
        least, most = classes, len(rest) - classes
        require(
            least <= size <= most,
            f"dataset.{which}",
            size,
            f"{least} to {most} can be cut from {len(rest)} images of {classes} classes",
        )
        left, cut = train_test_split(
            rest, test_size=size, stratify=labels[rest], random_state=self.split_seed
        )
        return left, cut

    def _check(self, part: Labelled) -> None:
        """Refuse images and labels that do not fit each other or `native_levels`."""
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

    def not_downloaded(self, what: str) -> SettingError:
        """Return the error that says what is wrong with the raw files and which command mends it."""
        command = f".venv/bin/python pipelines/download.py dataset={self.name}"
        return SettingError("", self.name, f"{what}; run `{command}` first")


def build(config: Mapping[str, Any]) -> Source:
    """Return the source that one file of ``conf/dataset`` describes.

    Raises:
        SettingError: if a value cannot work.
    """
    maker = instantiate(config, _partial_=True)  # else Hydra would wrap what the class refuses
    with under(KEY):
        source: Source = maker()
    return source


def _take(part: Labelled, indices: NDArray[np.int64]) -> Split:
    return Split(Labelled(part.images[indices], part.labels[indices]), "train", indices)


def _require_integer(key: str, value: Any, least: int, most: int | None = None) -> None:
    fits = type(value) is int and value >= least and (most is None or value <= most)
    require(
        fits, key, value, f"must be a whole number, {least} or more" + (f", {most} at most" if most else "")
    )
