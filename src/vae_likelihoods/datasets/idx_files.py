"""A data set of IDX files on mirrors: MNIST and data sets of the same format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.idx import read_idx
from vae_likelihoods.datasets.mirrors import Mirrors, RemoteFile
from vae_likelihoods.datasets.transfer import is_address
from vae_likelihoods.errors import SettingError, require

_PARTS = ("train", "test")
_IMAGES = ("train_images", "test_images")
_ROLES = ("train_images", "train_labels", "test_images", "test_labels")


class IdxFiles(Source):
    """Images [N, H, W] in IDX files, train and test apart; with labels in two more files, or without.

    Args:
        name: name of the data set.
        native_levels: number of values a pixel can take.
        mirrors: base addresses and local folders, tried in this order.
        files: name and checksum (`RemoteFile`) of train_images and test_images, and of train_labels and
            test_labels (classes [N], or factors [N, F]) unless the data set has no labels.
        validation_size: images cut from the training part.
        split_seed: seed of the cut.
        retries: how often a failed transfer is repeated at one address.
        timeout_s: seconds without a byte after which a transfer has failed.
    """

    def __init__(
        self,
        name: str,
        native_levels: int,
        mirrors: Sequence[str],
        files: Mapping[str, Mapping[str, str]],
        validation_size: int,
        split_seed: int = 0,
        retries: int = 2,
        timeout_s: float = 30.0,
    ) -> None:
        super().__init__(name, native_levels, validation_size, None, split_seed)
        _check_mirrors(mirrors)
        require(type(retries) is int and retries >= 0, "retries", retries, "must be 0 or more")
        positive = isinstance(timeout_s, int | float) and timeout_s > 0
        require(positive, "timeout_s", timeout_s, "must be a number of seconds above 0")
        complete = isinstance(files, Mapping) and set(files) in (set(_ROLES), set(_IMAGES))
        require(complete, "files", files, "must have exactly these keys, or those of images alone", _ROLES)
        self.files = {role: _remote_file(role, files[role]) for role in _ROLES if role in files}
        self.mirrors = Mirrors(name, list(mirrors), retries, float(timeout_s))

    def download(self, folder: Path) -> list[str]:
        """Download the files that are missing or damaged in `folder`; return their names."""
        return [file.stored_name for file in self.files.values() if self.mirrors.download(file, folder)]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Check every file again, and return the official parts."""
        for file in self.files.values():
            if not file.is_whole(folder / file.stored_name):
                raise self.not_downloaded(f"{folder / file.stored_name} is missing or damaged")
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


def _check_mirrors(mirrors: Sequence[str]) -> None:
    is_list = isinstance(mirrors, Sequence) and not isinstance(mirrors, str)
    require(is_list, "mirrors", mirrors, "must be a list, such as 'dataset.mirrors=[/path]'")
    for mirror in mirrors:
        valid = isinstance(mirror, str) and (
            is_address(mirror) or mirror.startswith("file://") or "://" not in mirror
        )
        require(valid, "mirrors", mirror, "must be http://, https://, file:// or a folder")


def _remote_file(role: str, settings: Mapping[str, str]) -> RemoteFile:
    keys = [field.name for field in fields(RemoteFile)]
    valid = isinstance(settings, Mapping) and "name" in settings and set(settings) <= set(keys)
    require(valid, f"files.{role}", settings, "needs a name and one checksum", keys)
    return RemoteFile(**settings)
