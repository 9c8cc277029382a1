"""A data set of IDX files on mirrors: MNIST and data sets of the same format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.idx import read_idx
from vae_likelihoods.datasets.mirrored import Mirrored
from vae_likelihoods.errors import SettingError, require

_PARTS = ("train", "test")


class IdxFiles(Mirrored):
    """Images [N, H, W] in IDX files, train and test apart; with labels in two more files, or without.

    Arguments as of `Mirrored`. The files are train_images and test_images, and train_labels and test_labels
    (classes [N], or factors [N, F]) unless the data set has no labels.
    """

    roles = ("train_images", "train_labels", "test_images", "test_labels")
    least_roles = ("train_images", "test_images")

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Check every file again, and return the official parts."""
        self.check_files(folder)
        return {part: self._part(folder, part) for part in _PARTS}

    def _part(self, folder: Path, part: str) -> LabelledArrays:
        images, labels = f"{part}_images", f"{part}_labels"
        return LabelledArrays(
            self._array(folder, images, (3,))[:, None],
            self._array(folder, labels, (1, 2)).astype(np.int64) if labels in self.files else None,
        )

    def _array(self, folder: Path, role: str, dimensions: tuple[int, ...]) -> Any:
        file = self.files[role]
        try:
            array = read_idx(folder / file.stored_name)
        except ValueError as error:
            raise SettingError(f"files.{role}", file.name, str(error)) from error
        valid = array.ndim in dimensions and array.dtype == np.uint8
        possible = " or ".join(map(str, dimensions))
        reason = f"holds {array.dtype} of shape {array.shape}; uint8 in {possible} dimensions are needed"
        require(valid, f"files.{role}", file.name, reason)
        return array
