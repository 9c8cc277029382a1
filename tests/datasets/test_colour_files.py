"""CIFAR-10 and SVHN from small files of their formats, on a mirror that is a folder."""

from __future__ import annotations

import io
import tarfile
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from vae_likelihoods.datasets.colour_files import Cifar10, Svhn
from vae_likelihoods.errors import SettingError

RNG = np.random.default_rng(0)


def archive_of(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def cifar(folder: Path, members: dict[str, bytes]) -> Cifar10:
    path = folder / "cifar.tar.gz"
    archive_of(path, members)
    files = {"archive": {"name": path.name, "compressed_md5": md5(path.read_bytes()).hexdigest()}}
    source = Cifar10("cifar10", 256, [str(folder)], files, validation_size=10)
    assert source.download(folder / "raw") == [path.name]
    return source


def batches(**changed: bytes) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    records = {
        f"{name}.bin": RNG.integers(0, 256, (20, 3073), dtype=np.uint8)
        for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    }
    for each in records.values():
        each[:, 0] %= 10
    members = {f"cifar-10-batches-bin/{name}": each.tobytes() for name, each in records.items()}
    return {**members, "cifar-10-batches-bin/readme.html": b"<html>", **changed}, records


def test_cifar_is_read_as_its_records_say(tmp_path: Path) -> None:
    members, records = batches()
    parts = cifar(tmp_path, members).read(tmp_path / "raw")
    assert {name: part.images.shape for name, part in parts.items()} == {
        "train": (100, 3, 32, 32),
        "test": (20, 3, 32, 32),
    }
    third = records["data_batch_2.bin"][3]
    np.testing.assert_array_equal(parts["train"].labels[23], third[0])
    # The official description: the first 1,024 bytes are red, row by row.
    np.testing.assert_array_equal(parts["train"].images[23, 0, 1], third[1 + 32 : 1 + 64])
    np.testing.assert_array_equal(parts["train"].images[23, 2, 31], third[-32:])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cifar-10-batches-bin/data_batch_3.bin": b"\0" * 3072}, "data_batch_3.bin has 3,072 bytes"),
        ({"cifar-10-batches-bin/data_batch_3.bin": b""}, "data_batch_3.bin has 0 bytes"),
    ],
)
def test_what_is_no_cifar_is_refused(tmp_path: Path, changed: dict[str, bytes], said: str) -> None:
    source = cifar(tmp_path, batches(**changed)[0])
    with pytest.raises(SettingError, match=said):
        source.read(tmp_path / "raw")


def test_a_missing_batch_and_a_damaged_archive_are_refused(tmp_path: Path) -> None:
    members, _ = batches()
    del members["cifar-10-batches-bin/test_batch.bin"]
    source = cifar(tmp_path, members)
    with pytest.raises(SettingError, match=r"^files.archive=cifar.tar.gz: has no test_batch.bin"):
        source.read(tmp_path / "raw")
    (tmp_path / "raw" / "cifar.tar.gz").write_bytes(b"nothing")
    with pytest.raises(SettingError, match="is missing or damaged; run"):
        source.read(tmp_path / "raw")


def svhn(folder: Path, **content: Any) -> Svhn:
    files = {}
    for role in ("train", "test"):
        path = folder / f"{role}_32x32.mat"
        savemat(path, content)
        files[role] = {"name": path.name, "md5": md5(path.read_bytes()).hexdigest()}
    source = Svhn("svhn", 256, [str(folder)], files, validation_size=10)
    assert source.download(folder / "raw") == ["train_32x32.mat", "test_32x32.mat"]
    return source


def test_svhn_is_read_with_images_last_and_ten_for_zero(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8)
    labels = (np.arange(40) % 10 + 1).astype(np.uint8)
    parts = svhn(tmp_path, X=images, y=labels[:, None]).read(tmp_path / "raw")
    assert parts["train"].images.shape == (40, 3, 32, 32)
    np.testing.assert_array_equal(parts["test"].images[7, 2], images[:, :, 2, 7])
    assert parts["train"].labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


@pytest.mark.parametrize(
    "content",
    [
        {"X": np.zeros((32, 32, 3, 4), np.uint8)},
        {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.zeros((5, 1))},
        {"X": np.zeros((32, 32, 3, 4)), "y": np.zeros((4, 1))},
    ],
    ids=["no labels", "other labels", "floats"],
)
def test_what_is_no_svhn_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    source = svhn(tmp_path, **content)
    with pytest.raises(SettingError, match=r"^files.train=train_32x32.mat: (cannot be read|holds)"):
        source.read(tmp_path / "raw")
