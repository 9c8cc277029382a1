from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from vae_likelihoods.datasets import card, large_arrays, near_copies, preparing
from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.contact_sheet import contact_sheet
from vae_likelihoods.datasets.manifest import manifest_sha256
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT, sha256


class Colours(Source):
    """Random images 3x6x5 at 8 levels in 3 classes."""

    def download(self, folder: Path) -> list[str]:
        return []

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        images = np.random.default_rng(0).integers(0, 8, (60, 3, 6, 5), dtype=np.uint8)
        return {"train": LabelledArrays(images, np.arange(60) % 3)}


@pytest.fixture
def source() -> Colours:
    return Colours("colours", 8, 9, 12, 0)


@pytest.fixture
def folder(tmp_path: Path, source: Colours) -> Path:
    prepare(source, tmp_path / "raw", tmp_path / "prepared" / "colours")
    return tmp_path / "prepared" / "colours"


def test_a_prepared_data_set_is_read_back(folder: Path, source: Colours) -> None:
    data = PreparedDataset(folder)
    assert (data.name, data.shape, data.native_levels) == ("colours", (3, 6, 5), 8)
    for name, split in source.splits(folder).items():
        images, labels = data.split(name)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(images, split.data.images)
        np.testing.assert_array_equal(labels, split.data.labels)
        assert data.count(name) == len(labels)
    data.verify()


def test_opening_reads_the_manifest_only_and_a_split_reads_no_other(folder: Path) -> None:
    for path in [*folder.glob("test_*"), *folder.glob("validation_*")]:
        path.unlink()
    assert len(PreparedDataset(folder).split("train").labels) == 39
    with pytest.raises(SettingError, match=r"test_images.npy is missing"):
        PreparedDataset(folder).split("test")


def test_the_hash_covers_every_split(folder: Path, tmp_path: Path) -> None:
    hashes = {PreparedDataset(folder).sha256}
    for seed, validation, test in ((1, 9, 12), (0, 12, 12), (0, 9, 9)):
        prepare(Colours("colours", 8, validation, test, seed), folder, tmp_path / "other" / "colours")
        hashes.add(PreparedDataset(tmp_path / "other" / "colours").sha256)
    assert len(hashes) == 4


def test_preparing_again_replaces_the_folder(folder: Path, source: Colours) -> None:
    (folder / "stray").write_text("from before")
    prepare(source, folder, folder)
    assert not (folder / "stray").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["colours"]


class Large(Source):
    """Images [400, 1, 100, 100], 4 MB, that are mapped from a file, in groups of two."""

    def download(self, folder: Path) -> list[str]:
        images = np.random.default_rng(0).integers(0, 256, (400, 1, 100, 100), dtype=np.uint8)
        np.save(folder / "images.npy", images)
        return ["images.npy"]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        images = np.load(folder / "images.npy", mmap_mode="r")
        return {"train": LabelledArrays(images, np.arange(400) % 7, np.arange(400) // 2)}


def test_images_are_not_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Large("large", 256, 0.1, 0.1, 0)
    large.download(tmp_path)
    monkeypatch.setattr(preparing, "write_contact_sheet", lambda *_: None)  # of a few images
    whole = prepare(large, tmp_path, tmp_path / "large")  # which imports what is imported once
    monkeypatch.setattr(large_arrays, "BLOCK", 2**17)
    monkeypatch.setattr(card, "_AT_ONCE", 2**15)
    monkeypatch.setattr(near_copies, "_OTHERS", 2**7)
    tracemalloc.start()
    try:
        manifest = prepare(large, tmp_path, tmp_path / "large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400 * 100 * 100 / 2
    assert manifest == whole


def test_what_the_disk_has_no_room_for_is_refused(
    tmp_path: Path, source: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_arrays.shutil, "disk_usage", lambda _: SimpleNamespace(free=60 * 90 - 1))
    said = r"^dataset=colours: it needs 5,400 bytes on disk, and 5,399 are free"
    with pytest.raises(SettingError, match=said):
        prepare(source, tmp_path, tmp_path / "prepared" / "colours")
    assert list(tmp_path.iterdir()) == []


def test_large_images_are_shown_with_fewer_pixels() -> None:
    images = np.arange(300, dtype=np.uint8)[None, None, None].repeat(257, 2)
    sheet = contact_sheet(LabelledArrays(images, None), 256, columns=1)
    assert sheet.shape == (86 + 4, 100 + 4, 3)
    np.testing.assert_allclose(sheet[2, 2:102, 0], images[0, 0, 0, ::3] / 255, rtol=1e-6)


def test_a_failure_leaves_the_old_folder(
    folder: Path, source: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("vae_likelihoods.datasets.preparing.write_contact_sheet", fail)
    with pytest.raises(OSError, match="disk is full"):
        prepare(source, folder, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["colours"]


def test_a_data_set_that_is_not_prepared_is_refused_with_the_commands(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^dataset=mnist: it was not prepared") as error:
        PreparedDataset(tmp_path / "mnist")
    for stage in ("download", "prepare"):
        assert f".venv/bin/python pipelines/{stage}.py dataset=mnist" in str(error.value)


@pytest.mark.parametrize("name", ["elsewhere", "a b, c"])
def test_the_commands_prepare_it_where_it_was_looked_for(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "digits"
    with pytest.raises(SettingError) as error:
        PreparedDataset(folder)
    command = str(error.value).split("`")[1].replace(".venv/bin/python", shlex.quote(sys.executable))
    raw = shlex.quote(f"raw_folder={tmp_path}/raw")
    script = " && ".join(f"{each} {raw} hydra.run.dir={tmp_path}/logs" for each in command.split(" && "))
    subprocess.run(script, shell=True, cwd=PROJECT, check=True, timeout=120)
    assert PreparedDataset(folder).native_levels == 17


@pytest.mark.parametrize("change", ["{", "[]", "{}", "count", "name"])
def test_a_damaged_manifest_is_refused(folder: Path, change: str) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if change == "count":
        manifest["splits"]["train"]["count"] += 1
    text = json.dumps({**manifest, "name": "other"} if change == "name" else manifest)
    path.write_text(text if change in ("count", "name") else change)
    with pytest.raises(SettingError, match=r"manifest.json is damaged or belongs to another data set"):
        PreparedDataset(folder)


def test_the_manifest_of_another_set_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match=r"^dataset=mnist: .*belongs to another data set"):
        PreparedDataset(folder, "mnist")


@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy"])
def test_verify_finds_a_changed_and_a_missing_file(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(SettingError, match=name):
        PreparedDataset(folder).verify()
    (folder / name).unlink()
    with pytest.raises(SettingError, match=name):
        PreparedDataset(folder).verify()


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy"])
@pytest.mark.parametrize(
    "change", [lambda content: content[:-9], lambda content: content[:9], lambda content: b""]
)
def test_a_truncated_array_is_refused_with_the_commands(
    folder: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(
        SettingError, match=rf"^dataset=colours: .*{name} was changed or is damaged; run `"
    ) as error:
        PreparedDataset(folder).split("train")
    assert "\n" not in str(error.value)


def test_images_that_an_older_version_took_as_floats_are_refused(folder: Path) -> None:
    np.save(folder / "train_images.npy", np.load(folder / "train_images.npy") / np.float32(7))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["train"]["images_sha256"] = sha256(folder / "train_images.npy")
    manifest["sha256"] = manifest_sha256(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SettingError, match=r"^dataset=colours: its images are torch.float32, no levels"):
        PreparedDataset(folder).split("train")


def test_an_unknown_split_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match=r"split=tests: .*train, validation, test"):
        PreparedDataset(folder).split("tests")


def test_a_source_without_test_images_needs_a_test_size(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"test_size=None: .*no official test images"):
        Colours("colours", 8, 9, None, 0).splits(tmp_path)


class OfficialTest(Colours):
    """The same with its own test images."""

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        train = super().read(folder)["train"]
        return {"train": train, "test": train}


def test_official_test_images_cannot_be_replaced(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"test_size=12: must be left out, .* official test images"):
        OfficialTest("colours", 8, 9, 12, 0).splits(tmp_path)


def test_contact_sheet_shows_ten_of_each_class(folder: Path, source: Colours) -> None:
    split: Split = source.splits(folder)["train"]
    sheet = contact_sheet(split.data, 8)
    zoom = 4  # 28 // 6
    assert sheet.shape == (3 * (zoom * 6 + 2) + 2, 10 * (zoom * 5 + 2) + 2, 3)
    image = split.data.images[split.data.labels == 2][9]
    top, left = 2 * (zoom * 6 + 2) + 2, 9 * (zoom * 5 + 2) + 2
    tile = sheet[top : top + zoom * 6 : zoom, left : left + zoom * 5 : zoom]
    np.testing.assert_allclose(tile, np.moveaxis(image, 0, -1) / 7, rtol=1e-6)
    np.testing.assert_allclose(imread(folder / "contact_sheet.png")[..., :3], sheet, atol=1 / 255)
    assert b"Software" not in (folder / "contact_sheet.png").read_bytes()
    assert b"tIME" not in (folder / "contact_sheet.png").read_bytes()


@pytest.mark.parametrize("labels", [None, np.zeros((23, 2), np.int64)])
def test_contact_sheet_without_classes_shows_the_first_images(labels: np.ndarray | None) -> None:
    images = np.arange(23, dtype=np.uint8).repeat(28 * 28).reshape(23, 1, 28, 28)
    sheet = contact_sheet(LabelledArrays(images, labels), 256)
    assert sheet.shape == (3 * 30 + 2, 302, 3)
    np.testing.assert_allclose(sheet[2::30, 2::30, 0].ravel()[:23], np.arange(23) / 255, rtol=1e-6)


def test_contact_sheet_shows_no_more_than_a_hundred_classes() -> None:
    images = np.zeros((150, 1, 28, 28), np.uint8)
    assert len(contact_sheet(LabelledArrays(images, np.arange(150)), 256, columns=1)) == 100 * 30 + 2


def test_contact_sheet_of_a_class_with_few_images_leaves_room() -> None:
    data = LabelledArrays(np.zeros((3, 1, 28, 28), np.uint8), np.array([0, 0, 4]))
    sheet = contact_sheet(data, 2)
    assert sheet.shape == (62, 302, 3)
    assert sheet[2:30, 2:30].max() == 0  # an image
    assert sheet[2:30, 62:90].min() == 1  # no third image of this class
