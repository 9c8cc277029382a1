"""A data set of four IDX files on mirrors: MNIST and data sets of the same format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.base import LabelledArrays, Source
from vae_likelihoods.datasets.idx import read_idx
from vae_likelihoods.datasets.mirrors import Mirrors, RemoteFile
from vae_likelihoods.datasets.transfer import is_address
from vae_likelihoods.errors import SettingError, require

_ROLES = ("train_images", "train_labels", "test_images", "test_labels")


class IdxFiles(Source):
    """Images [N, H, W] and labels [N] in IDX files, with an official train and test part.

    Args:
        name: name of the data set.
        native_levels: number of values a pixel can take.
        mirrors: base addresses and local folders, tried in this order.
        files: name and checksum (`RemoteFile`) of train_images, train_labels, test_images and test_labels.
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
        complete = isinstance(files, Mapping) and set(files) == set(_ROLES)
        require(complete, "files", files, "must have exactly these keys", _ROLES)
        self.files = {role: _remote_file(role, files[role]) for role in _ROLES}
        self.mirrors = Mirrors(name, list(mirrors), retries, float(timeout_s))

    def download(self, folder: Path) -> list[str]:
        """Download the files that are missing or damaged in `folder`; return their names."""
        return [file.stored_name for file in self.files.values() if self.mirrors.download(file, folder)]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Check every file again, and return the official parts."""
        for file in self.files.values():
            if not file.is_whole(folder / file.stored_name):
                raise self.not_downloaded(f"{folder / file.stored_name} is missing or damaged")
        return {part: self._part(folder, part) for part in ("train", "test")}

    def _part(self, folder: Path, part: str) -> LabelledArrays:
        images, labels = (self._array(folder, f"{part}_{what}") for what in ("images", "labels"))
        return LabelledArrays(images[:, None], labels.astype(np.int64))

    def _array(self, folder: Path, role: str) -> Any:
        file, dimensions = self.files[role], 3 if role.endswith("images") else 1
        try:
            array = read_idx(folder / file.stored_name)
        except ValueError as error:
            raise SettingError(f"files.{role}", file.name, str(error)) from error
        valid = array.ndim == dimensions and array.dtype == np.uint8
        reason = f"holds {array.dtype} of shape {array.shape}; uint8 in {dimensions} dimensions are needed"
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
