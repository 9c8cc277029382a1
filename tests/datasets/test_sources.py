"""Properties of every file in conf/dataset, and the embedded data sets, prepared."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_sample_images

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source, build
from vae_likelihoods.datasets.embedded import Embedded
from vae_likelihoods.datasets.idx_files import IdxFiles
from vae_likelihoods.datasets.mirrors import RemoteFile
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError

YAMLS = sorted((Path(__file__).parents[2] / "conf" / "dataset").glob("*.yaml"))
OURS = {"cifar10", "digits", "fashion_mnist", "kmnist", "mnist", "mnist5k", "patches", "svhn"}
EMBEDDED = {
    "mnist5k": {"train": 4000, "validation": 500, "test": 500},
    "digits": {"train": 1437, "validation": 180, "test": 180},
}
# The published studies use these splits; a new version of a library must not change them.
HASHES = {
    "mnist5k": "21e0260aae539643262bc3e7262e26945414f34d47aa99e09cfb7f94a1ffa6b6",
    "digits": "bb54560bc1ac716fb38b385e821f2d8d5f426e256562bb9e3da1504e34671a5d",
}


def config(name: str) -> DictConfig:
    loaded = OmegaConf.load(next(path for path in YAMLS if path.stem == name))
    assert isinstance(loaded, DictConfig)
    return loaded


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw folders of the embedded sets."""
    folder = tmp_path_factory.mktemp("raw")
    for name in EMBEDDED:
        assert build(config(name)).download(folder / name) == ["images.npy", "labels.npy"]
    return folder


def test_the_documented_data_sets_exist() -> None:
    assert {"mnist5k", "digits", "mnist", "fashion_mnist", "kmnist"} <= {path.stem for path in YAMLS}


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_yaml_builds_a_source_of_its_own_name(path: Path) -> None:
    source = build(config(path.stem))
    assert isinstance(source, Source)
    assert source.name == path.stem
    assert 2 <= source.native_levels <= 256
    assert config(path.stem).native_levels == source.native_levels  # from which `levels` is read
    # A data set of somebody's own may be small; those of the project are not.
    assert source.validation_size >= (100 if path.stem in OURS else 0)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_yaml_refuses_a_misspelt_field(path: Path) -> None:
    with pytest.raises(Exception, match="validation_sise"):
        build(OmegaConf.merge(config(path.stem), {"validation_sise": 1}))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_yaml_refuses_a_wrong_value_in_one_line(path: Path) -> None:
    with pytest.raises(SettingError, match=r"^dataset\.validation_size=-1: ") as error:
        build(OmegaConf.merge(config(path.stem), {"validation_size": -1}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_checksums_have_the_length_of_their_algorithm(path: Path) -> None:
    source = build(config(path.stem))
    if isinstance(source, IdxFiles):
        assert [role for role, file in source.files.items() if role.split("_")[1] not in file.name] == []
        for file in source.files.values():
            algorithm, _, digest = file.checksum.partition(":")
            assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[algorithm]
            assert file.name.endswith(".gz")
        assert source.mirrors.bases


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_are_split_stratified_and_disjointly(name: str, raw: Path) -> None:
    source = build(config(name))
    everything = source.read(raw / name)["train"]
    splits = source.splits(raw / name)
    assert {key: len(split.indices) for key, split in splits.items()} == EMBEDDED[name]
    together = np.concatenate([split.indices for split in splits.values()])
    assert sorted(together) == list(range(len(everything.labels)))
    for split in splits.values():
        np.testing.assert_array_equal(split.data.images, everything.images[split.indices])
        np.testing.assert_array_equal(split.data.labels, everything.labels[split.indices])
        share = np.bincount(split.data.labels) / np.bincount(everything.labels)
        np.testing.assert_allclose(share, len(split.indices) / len(everything.labels), atol=0.006)
        assert (
            len(set(split.data.labels[:50])) == 10
        )  # shuffled, so that a grid of the first images has every class


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_images_are_digits(name: str, raw: Path) -> None:
    source = build(config(name))
    data = source.read(raw / name)["train"]
    assert data.images.dtype == np.uint8
    assert data.images.max() == source.native_levels - 1
    means = np.stack([data.images[data.labels == label].mean(0).ravel() for label in range(10)])
    nearest = ((data.images.reshape(len(data.labels), 1, -1) - means) ** 2).sum(2).argmin(1)
    assert (nearest == data.labels).mean() > 0.75  # labels belong to their images


@pytest.mark.parametrize("name", EMBEDDED)
def test_prepared_twice_gives_the_same_bytes_and_the_published_hash(
    name: str, raw: Path, tmp_path: Path
) -> None:
    for folder in ("once", "again"):
        prepare(build(config(name)), raw / name, tmp_path / folder)
    once, again = tmp_path / "once", tmp_path / "again"
    names = sorted(path.name for path in once.iterdir())
    splits = [
        f"{split}_{what}.npy" for split in ("test", "train", "validation") for what in ("images", "labels")
    ]
    cards = ["contact_sheet.png", "data_card.json", "data_card.md", "manifest.json"]
    assert names == sorted([*cards, *splits])
    assert [(once / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]
    assert json.loads((once / "manifest.json").read_text())["sha256"] == HASHES[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "once"]


def test_mnist5k_has_the_same_number_of_each_class(raw: Path, tmp_path: Path) -> None:
    manifest = prepare(build(config("mnist5k")), raw / "mnist5k", tmp_path / "mnist5k")
    counts = {name: set(split["counts_per_class"].values()) for name, split in manifest["splits"].items()}
    assert counts == {"train": {400}, "validation": {50}, "test": {50}}


def test_a_second_download_of_an_embedded_set_writes_nothing(raw: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (raw / "digits").iterdir()}
    assert build(config("digits")).download(raw / "digits") == []
    assert {path: path.stat().st_mtime_ns for path in (raw / "digits").iterdir()} == before


def test_a_damaged_raw_array_is_refused_and_then_replaced(raw: Path, tmp_path: Path) -> None:
    source, folder = build(config("digits")), tmp_path / "digits"
    source.download(folder)
    good = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(good[:-1])
    with pytest.raises(
        SettingError, match=r"images.npy is missing or damaged; run .*download.py dataset=digits"
    ):
        source.splits(folder)
    assert source.download(folder) == ["images.npy", "labels.npy"]
    assert (folder / "images.npy").read_bytes() == good


class Unlabelled(Embedded):
    """A package with images alone."""

    def load(self) -> LabelledArrays:
        return LabelledArrays(np.arange(160, dtype=np.uint8).reshape(40, 1, 2, 2), None)


def test_an_embedded_set_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", Unlabelled.load(None).images)  # type: ignore[arg-type]
    digest = hashlib.sha256((tmp_path / "images.npy").read_bytes()).hexdigest()
    source = Unlabelled("alone", 256, {"images": digest}, 4, 4)
    assert source.download(tmp_path / "raw") == ["images.npy"]
    prepare(source, tmp_path / "raw", tmp_path / "alone")
    assert PreparedDataset(tmp_path / "alone").split("test").labels is None
    labelled = Unlabelled("alone", 256, {"images": digest, "labels": digest}, 4, 4)
    with pytest.raises(SettingError, match=r"sha256\.labels=.*the installed package has other labels"):
        labelled.download(tmp_path / "other")


class Changed(Embedded):
    """A package that changed its data."""

    def load(self) -> LabelledArrays:
        return LabelledArrays(np.zeros((40, 1, 2, 2), np.uint8), np.arange(40) % 2)


def test_a_package_with_other_data_is_refused(tmp_path: Path) -> None:
    hashes = {"images": "0" * 64, "labels": "0" * 64}
    with pytest.raises(SettingError, match=r"sha256\.images=0+: the installed package has other images"):
        Changed("changed", 256, hashes, 4, 4).download(tmp_path / "changed")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def idx(tmp_path: Path, files, fill: Callable[..., Path]) -> tuple[IdxFiles, Path]:
    """The tiny IDX set, downloaded."""
    source = IdxFiles("tiny", 256, [str(fill(tmp_path / "mirror"))], files, 12)
    source.download(tmp_path / "raw")
    return source, tmp_path / "raw"


def test_the_official_test_images_stay_the_test_split(idx, arrays) -> None:
    source, raw = idx
    splits = source.splits(raw)
    np.testing.assert_array_equal(splits["test"].data.images[:, 0], arrays["test_images"])
    np.testing.assert_array_equal(splits["test"].data.labels, arrays["test_labels"])
    assert splits["test"].taken_from == "test"
    for name, size in (("train", 48), ("validation", 12)):
        split = splits[name]
        assert split.taken_from == "train"
        np.testing.assert_array_equal(split.data.images[:, 0], arrays["train_images"][split.indices])
        assert np.bincount(split.data.labels).tolist() == [size / 4] * 4
    both = np.concatenate([splits["train"].indices, splits["validation"].indices])
    assert sorted(both) == list(range(60))


@pytest.mark.parametrize("size", [3, 57, 60, 1000])
def test_a_validation_split_that_cannot_be_cut_is_refused(idx, size: int) -> None:
    source, raw = idx
    source.validation_size = size
    with pytest.raises(SettingError, match=rf"^validation_size={size}: 4 to 56 can be cut"):
        source.splits(raw)


def test_too_few_native_levels_are_refused(idx) -> None:
    source, raw = idx
    source.native_levels = 17
    with pytest.raises(SettingError, match=r"native_levels=17: the images of tiny reach level 255"):
        source.splits(raw)


def test_missing_raw_files_are_refused_with_the_command(tmp_path: Path, files) -> None:
    with pytest.raises(SettingError, match=r"run `.venv/bin/python pipelines/download.py dataset=tiny`"):
        IdxFiles("tiny", 256, [], files, 12).splits(tmp_path)


def rewrite(raw: Path, source: IdxFiles, role: str, content: bytes) -> None:
    """Replace a file and its checksum by other content, as a wrong YAML would."""
    source.files[role] = RemoteFile(source.files[role].name, md5=hashlib.md5(content).hexdigest())
    (raw / source.files[role].stored_name).write_bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no idx", "not an IDX file"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]), "uint8 in 3 dimensions are needed"),
        (bytes([0, 0, 9, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7]), "holds int8"),
    ],
)
def test_files_of_another_kind_are_refused(idx, content: bytes, reason: str) -> None:
    source, raw = idx
    rewrite(raw, source, "train_images", content)
    with pytest.raises(SettingError, match=rf"^files\.train_images=.*{reason}"):
        source.splits(raw)


@pytest.mark.parametrize("content", [gzip.compress(bytes(900), mtime=0)[:-9], b"<!DOCTYPE html>"])
def test_a_gz_that_was_published_damaged_is_refused(content: bytes, tmp_path: Path, files, fill) -> None:
    """Its checksum is that of the damaged file, so only reading it can tell."""
    mirror, name = fill(tmp_path / "mirror"), files["train_images"]["name"]
    (mirror / name).write_bytes(content)
    damaged = {"name": name, "compressed_md5": hashlib.md5(content).hexdigest()}
    source = IdxFiles("tiny", 256, [str(mirror)], {**files, "train_images": damaged}, 12)
    source.download(tmp_path / "raw")
    with pytest.raises(
        SettingError, match=rf"^dataset\.files\.train_images={name}: truncated or damaged .gz"
    ):
        prepare(source, tmp_path / "raw", tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()


def test_idx_files_without_labels(tmp_path: Path, files, fill, arrays) -> None:
    images = {role: file for role, file in files.items() if role.endswith("images")}
    source = IdxFiles("tiny", 256, [str(fill(tmp_path / "mirror"))], images, 12)
    assert len(source.download(tmp_path / "raw")) == 2
    prepare(source, tmp_path / "raw", tmp_path / "tiny")
    data = PreparedDataset(tmp_path / "tiny")
    np.testing.assert_array_equal(data.split("test").images[:, 0], arrays["test_images"])
    assert [data.split(split).labels for split in ("train", "validation", "test")] == [None] * 3


@pytest.mark.parametrize("missing", ["train_labels", "test_labels", "test_images"])
def test_idx_files_of_one_part_alone_are_refused(missing: str, files) -> None:
    some = {role: file for role, file in files.items() if role != missing}
    with pytest.raises(SettingError, match=r"^files=.*exactly these keys, or those of images alone"):
        IdxFiles("tiny", 256, [], some, 12)


def test_idx_labels_may_be_factors(idx, tmp_path: Path) -> None:
    source, raw = idx
    for role, count in (("train_labels", 60), ("test_labels", 20)):
        factors = np.stack([np.arange(count) % 4, np.arange(count) % 3], 1).astype(np.uint8)
        rewrite(raw, source, role, bytes([0, 0, 8, 2, 0, 0, 0, count, 0, 0, 0, 2]) + factors.tobytes())
    prepare(source, raw, tmp_path / "tiny")
    assert PreparedDataset(tmp_path / "tiny").split("test").labels[:3].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_images_and_labels_of_different_number_are_refused(idx, plain: dict[str, bytes]) -> None:
    source, raw = idx
    rewrite(raw, source, "train_labels", plain["test_labels"])
    with pytest.raises(SettingError, match="do not fit together"):
        source.splits(raw)


@pytest.mark.slow
def test_the_full_fashion_mnist_where_it_is_installed(tmp_path: Path) -> None:
    """Runs where TEST_FASHION_MNIST names a folder of its files (Debian: dataset-fashion-mnist)."""
    folder = os.environ.get("TEST_FASHION_MNIST")
    if not folder:
        pytest.fail("set TEST_FASHION_MNIST to a folder with the four files of Fashion-MNIST")
    source = build(OmegaConf.merge(config("fashion_mnist"), {"mirrors": [folder]}))
    source.download(tmp_path / "raw")
    manifest = prepare(source, tmp_path / "raw", tmp_path / "fashion_mnist")
    counts = {name: set(split["counts_per_class"].values()) for name, split in manifest["splits"].items()}
    assert counts == {"train": {5500}, "validation": {500}, "test": {1000}}
    assert manifest["shape"] == [1, 28, 28]
    packed = gzip.decompress((Path(folder) / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert np.load(tmp_path / "fashion_mnist" / "test_images.npy").tobytes() == packed[16:]


def test_the_data_sets_of_the_project_are_there() -> None:
    assert {path.stem for path in YAMLS} >= OURS


def test_patches_tile_photographs(tmp_path: Path) -> None:
    source = build(config("patches"))
    assert source.download(tmp_path) == ["images.npy"]
    images = source.read(tmp_path)["train"].images
    assert images.shape == (2560, 3, 32, 32)
    # The first photograph, 427 x 640, is 13 rows of 20 patches.
    rows = images[: 13 * 20].reshape(13, 20, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(416, 640, 3)
    np.testing.assert_array_equal(rows, load_sample_images().images[0][:416])
    splits = source.splits(tmp_path)
    counts = {name: len(split.indices) for name, split in splits.items()}
    assert counts == {"train": 2048, "validation": 256, "test": 256}
    assert len(np.unique(np.concatenate([split.indices for split in splits.values()]))) == 2560
    drawn = {
        name: hashlib.sha256(np.asarray(split.indices, "<i8").tobytes()).hexdigest()[:16]
        for name, split in splits.items()
    }
    # The published study in colour uses these splits.
    assert drawn == {
        "train": "948855da3a277fb1",
        "validation": "d2f6f38ecf07e113",
        "test": "96ba1131f2bc98b0",
    }
