"""Published data sets of small colour images: CIFAR-10 and SVHN."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.mirrored import Mirrored
from vae_likelihoods.errors import SettingError, require

_RECORD = 1 + 3 * 32 * 32  # a class, then red, green and blue rows
_BATCHES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}


class Cifar10(Mirrored):
    """The binary archive of CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 photographs, 3x32x32, 10 classes.

    Arguments as of `Mirrored`; the file is ``archive``. Of the archive only the six batches are read, and
    nothing is written.
    """

    roles = ("archive",)

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Check the archive again, and return the official parts.

        Raises:
            SettingError: a batch is missing, or no batch of CIFAR-10.
        """
        self.check_files(folder)
        file = self.files["archive"]
        try:
            with tarfile.open(folder / file.stored_name, "r:*") as archive:
                members = {Path(each.name).name: each for each in archive if each.isfile()}
                return {part: self._part(archive, members, names) for part, names in _BATCHES.items()}
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise SettingError("files.archive", file.name, f"cannot be read ({error})") from error

    def _part(self, archive: tarfile.TarFile, members: dict[str, Any], names: list[str]) -> LabelledArrays:
        batches = [self._batch(archive, members, name) for name in names]
        records = np.concatenate(batches).reshape(-1, _RECORD)
        return LabelledArrays(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64))

    def _batch(self, archive: tarfile.TarFile, members: dict[str, Any], name: str) -> Any:
        file = self.files["archive"]
        require(name in members, "files.archive", file.name, f"has no {name}")
        size = members[name].size
        whole = 0 < size <= 100_000 * _RECORD and size % _RECORD == 0
        reason = f"{name} has {size:,} bytes, no whole number of images of {_RECORD:,}"
        require(whole, "files.archive", file.name, reason)
        stream = archive.extractfile(members[name])
        assert stream is not None
        return np.frombuffer(stream.read(), np.uint8)


class Svhn(Mirrored):
    """The cropped digits of SVHN (Netzer et al. 2011): 73,257 and 26,032 house numbers, 3x32x32, 10 classes.

    Arguments as of `Mirrored`; the files are ``train`` and ``test``, in MATLAB's format.
    """

    roles = ("train", "test")

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Check the files again, and return the official parts; the digit 0, stored as 10, is class 0.

        Raises:
            SettingError: a file is not as SVHN has them.
        """
        self.check_files(folder)
        return {role: self._part(folder, role) for role in self.roles}

    def _part(self, folder: Path, role: str) -> LabelledArrays:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        file = self.files[role]
        try:
            content = loadmat(folder / file.stored_name)
            images, labels = content["X"], content["y"].ravel()
        except (ValueError, KeyError, TypeError, NotImplementedError, MatReadError, zlib.error) as error:
            raise SettingError(f"files.{role}", file.name, f"cannot be read ({error})") from error
        fits = images.ndim == 4 and images.shape[2] == 3 and images.shape[3] == len(labels)
        reason = f"holds images of shape {images.shape} and {len(labels)} labels"
        require(fits and images.dtype == np.uint8, f"files.{role}", file.name, reason)
        levels = np.ascontiguousarray(images.transpose(3, 2, 0, 1))
        return LabelledArrays(levels, labels.astype(np.int64) % 10)
