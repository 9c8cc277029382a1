"""Files of arrays, from the file to the splits."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.datasets import array_files, large_arrays, stored_arrays
from vae_likelihoods.datasets.array_files import ArrayFile
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
CLASSES = np.arange(40) % 4


def write(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["images"])
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, compression="gzip", chunks=array.shape)
    return path


def read(tmp_path: Path, path: Path, **settings: Any) -> Any:
    source = ArrayFile("mine", str(path), **settings)
    source.download(tmp_path / "raw")
    assert source.download(tmp_path / "raw") == []
    return source.read(tmp_path / "raw")


def refusal(tmp_path: Path, path: Path, **settings: Any) -> str:
    with pytest.raises(SettingError) as error:
        ArrayFile("mine", str(path), **settings).download(tmp_path / "raw")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "raw").exists()
    return str(error.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize(
    ("images", "layout"),
    [(GREY, "NHW"), (GREY[..., None], "NHWC"), (GREY[:, None], "NCHW"), (COLOUR, "NHWC")],
    ids=["NHW", "NHWC", "NCHW", "colour"],
)
def test_the_layout_is_found_out_and_said(
    tmp_path: Path, suffix: str, images: np.ndarray, layout: str
) -> None:
    path = write(tmp_path / f"file{suffix}", images=images)
    part = read(tmp_path, path)["train"]
    expected = GREY[:, None] if images is not COLOUR else COLOUR.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(part.images, expected)
    assert part.labels is None
    (note,) = ArrayFile("mine", str(path)).notes(tmp_path / "raw")
    name = "file" if suffix == ".npy" else "images"
    assert note == f"images are {name}, uint8 of shape {list(images.shape)}, taken as {layout}"
    np.testing.assert_array_equal(read(tmp_path, path, layout=layout)["train"].images, expected)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_labels_groups_and_test_images_by_name(tmp_path: Path, suffix: str) -> None:
    arrays = {"x": COLOUR, "y": CLASSES, "x_test": COLOUR[:7], "y_test": CLASSES[:7], "patient": CLASSES}
    path = write(tmp_path / f"file{suffix}", **arrays)
    parts = read(
        tmp_path, path, images="x", labels="y", test_images="x_test", test_labels="y_test", test_size=None
    )
    assert parts["test"].images.shape == (7, 3, 6, 5)
    np.testing.assert_array_equal(parts["train"].labels, CLASSES)
    source = ArrayFile("mine", str(path), images="x", groups="patient", test_size=10, validation_size=10)
    source.download(tmp_path / "raw")
    splits = source.splits(tmp_path / "raw")
    of_split = [set(CLASSES[split.indices]) for split in splits.values()]
    assert sum(map(len, of_split)) == 4
    assert "y" in refusal(tmp_path / "other", path, images="x", labels="z")


@pytest.mark.parametrize("groups", [None, "patient"])
def test_groups_and_copies_stay_together_beside_test_images(tmp_path: Path, groups: str | None) -> None:
    images = np.concatenate([GREY, GREY])
    arrays = {"images": images, "patient": np.tile(np.arange(40) // 2, 2), "test_images": GREY[:9]}
    path = write(tmp_path / "file.npz", **arrays)
    source = ArrayFile("mine", str(path), groups=groups, test_images="test_images", test_size=None)
    source.download(tmp_path / "raw")
    splits = source.splits(tmp_path / "raw")
    kept = arrays["patient"] if groups else np.tile(np.arange(40), 2)
    train, validation = (set(kept[splits[name].indices]) for name in ("train", "validation"))
    assert not train & validation
    assert len(splits["validation"].indices) == 8
    np.testing.assert_array_equal(splits["test"].data.images[:, 0], GREY[:9])


NUMBERS = RNG.permutation(np.repeat([0, 1, 2], [30, 4, 6]))
NAMES = np.array(["train", "validation", "test"])


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("kind", ["numbers", "names", "bytes"])
def test_splits_that_the_file_names_are_taken(tmp_path: Path, suffix: str, kind: str) -> None:
    given = {"numbers": NUMBERS, "names": NAMES[NUMBERS], "bytes": NAMES[NUMBERS].astype("S12")}[kind]
    if suffix == ".h5" and kind == "names":
        given = given.astype(object)
    path = tmp_path / f"file{suffix}"
    if suffix == ".npz":
        np.savez(path, images=GREY, y=CLASSES, which=given)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["images"], file["y"], file["which"] = GREY, CLASSES, given
    source = ArrayFile("mine", str(path), labels="y", splits="which")
    source.download(tmp_path / "raw")
    for number, (name, split) in enumerate(source.splits(tmp_path / "raw").items()):
        assert name == NAMES[number]
        assert sorted(split.indices) == np.flatnonzero(number == NUMBERS).tolist()
        np.testing.assert_array_equal(split.data.images[:, 0], GREY[split.indices])
        np.testing.assert_array_equal(split.data.labels, CLASSES[split.indices])
    assert "validation_size and test_size are not used" in source.notes(tmp_path / "raw")[-1]
    prepare(source, tmp_path / "raw", tmp_path / "mine")
    assert PreparedDataset(tmp_path / "mine").count("validation") == 4


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (NUMBERS + 1, "splits=which: has the value [3]; it must have train, validation, test, or 0, 1, 2"),
        (
            np.where(NUMBERS == 2, "Test", NAMES[NUMBERS]),
            "splits=which: has the value ['Test']; it must have",
        ),
        (np.minimum(NUMBERS, 1), "splits=which: has no image of test"),
        (NUMBERS[:7], "splits=which: has the shape [7], and one value an image is needed: [40]"),
        (NUMBERS, "splits=which: group [0] is in more than one split"),
    ],
)
def test_splits_that_are_none_are_refused(tmp_path: Path, which: np.ndarray, said: str) -> None:
    path = write(tmp_path / "file.npz", images=GREY, which=which, patient=CLASSES)
    assert said in refusal(tmp_path, path, splits="which", groups="patient")


def test_splits_and_test_images_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^splits=which: says which images are test images; leave out"):
        ArrayFile("mine", "file.npz", splits="which", test_images="x", test_size=None)


def test_groups_are_texts_without_spaces_at_their_ends(tmp_path: Path) -> None:
    names = np.array([f"p{number // 4}{' ' * (number % 2)}" for number in range(40)])
    np.savez(tmp_path / "file.npz", images=GREY, patient=names)
    groups = read(tmp_path, tmp_path / "file.npz", groups="patient")["train"].groups
    assert len(np.unique(groups)) == 10


@pytest.mark.parametrize("how", ["external", "virtual", "link"])
def test_hdf5_that_leads_to_other_files_is_refused(tmp_path: Path, how: str) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret.bin").write_bytes(GREY.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["images"] = GREY
    with h5py.File(tmp_path / "file.h5", "w") as file:
        if how == "external":
            place = [(str(tmp_path / "secret.bin"), 0, GREY.nbytes)]
            file.create_dataset("images", GREY.shape, "u1", external=place)
        elif how == "virtual":
            layout = h5py.VirtualLayout(GREY.shape, "u1")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "images", GREY.shape)
            file.create_virtual_dataset("images", layout)
        else:
            file["images"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "images")
    said = refusal(tmp_path, tmp_path / "file.h5")
    assert "images" in said
    assert "other file" in said or "another file" in said


def test_hdf5_that_holds_less_than_it_claims_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("images", (10**6, 64, 64), "u1", chunks=(100, 64, 64))
        file["chunked"] = GREY
    assert "claims 4,096,000,000 bytes, and none of them were ever" in refusal(tmp_path, tmp_path / "file.h5")
    monkeypatch.setattr(stored_arrays, "_MOST_CHUNK", GREY.nbytes - 1)
    path = write(tmp_path / "chunk.h5", images=GREY)
    assert "images has chunks of 1,200 bytes, and 1,199 are the most" in refusal(tmp_path, path)


def test_what_is_packed_very_well_is_said(tmp_path: Path) -> None:
    images = np.zeros((500, 28, 28), np.uint8)
    path = write(tmp_path / "file.npz", images=images)
    read(tmp_path, path)
    (note,) = ArrayFile("mine", str(path)).notes(tmp_path / "raw")
    packed = zipfile.ZipFile(path).infolist()[0].compress_size
    assert note.endswith(f"taken as NHW, packed {images.nbytes // packed} to 1")


def test_what_the_disk_has_no_room_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "file.npz", images=GREY)
    monkeypatch.setattr(large_arrays.shutil, "disk_usage", lambda _: SimpleNamespace(free=1199))
    assert "it needs 1,200 bytes on disk, and 1,199 are free" in refusal(tmp_path, path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_block_by_block(
    tmp_path: Path, suffix: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.asarray(RNG.integers(0, 256, (300, 10, 9, 3), dtype=np.uint8), order=order)
    path = tmp_path / f"file{suffix}"
    if suffix == ".npy":
        np.save(path, images)
    elif suffix == ".npz":
        np.savez(path, images=images)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(16, 5, 9, 3))
    monkeypatch.setattr(large_arrays, "BLOCK", 20 * 270)
    np.testing.assert_array_equal(read(tmp_path, path)["train"].images, images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_packed_arrays_are_not_held_whole(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((4000, 40, 50), np.uint8)  # 8 MB
    images[:, 0, 0] = np.arange(4000) % 251
    path = tmp_path / f"file{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, images=images)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(50, 40, 50), compression="gzip")
    monkeypatch.setattr(large_arrays, "BLOCK", 2**18)
    source = ArrayFile("mine", str(path))
    tracemalloc.start()
    try:
        source.download(tmp_path / "raw")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < images.nbytes / 4


def test_labels_from_a_file_of_their_own_may_be_factors(tmp_path: Path) -> None:
    path = write(tmp_path / "file.npy", images=GREY)
    np.save(tmp_path / "factors.npy", np.stack([CLASSES, CLASSES // 2], 1))
    assert read(tmp_path, path, labels="factors.npy")["train"].labels.shape == (40, 2)
    np.save(tmp_path / "factors.npy", np.stack([CLASSES, CLASSES, CLASSES], 1))
    assert read(tmp_path, path, labels="factors.npy")["train"].labels.shape == (40, 3)


def test_exact_copies_stay_together(tmp_path: Path) -> None:
    path = write(tmp_path / "file.npy", images=np.concatenate([GREY, GREY[:20]]))
    source = ArrayFile("mine", str(path), test_size=0.3, validation_size=0.3)
    source.download(tmp_path / "raw")
    contents = [
        {image.tobytes() for image in split.data.images} for split in source.splits(tmp_path / "raw").values()
    ]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 40


def test_the_card_names_the_places_of_images_that_are_alike(tmp_path: Path) -> None:
    images, test = GREY.copy(), GREY[::-1][:8].copy()
    test[:4] = (test[:4] * 0.7).astype(np.uint8)
    path = write(tmp_path / "file.npz", images=images, g=np.arange(40) // 4, t=test)
    source = ArrayFile("mine", str(path), groups="g", test_images="t", test_size=None)
    source.download(tmp_path / "raw")
    assert source.notes(tmp_path / "raw")[-1] == "groups: 10, the largest of 4 images; each is in one split"
    prepare(source, tmp_path / "raw", tmp_path / "mine")
    pairs = json.loads((tmp_path / "mine" / "data_card.json").read_text())["pairs"]
    found = {(each["image"], each["like"], each["exact"]) for each in pairs if each["later"] == "test"}
    assert found == {(f"test_images[{place}]", f"images[{39 - place}]", place >= 4) for place in range(8)}


@pytest.mark.parametrize(
    ("arrays", "settings", "said"),
    [
        ({"images": GREY / 255}, {}, "mine: the images of train are float64 from 0 to 1; uint8 levels"),
        ({"images": GREY.astype(np.uint16)}, {}, "images.astype(numpy.uint8)"),
        ({"images": GREY[0]}, {}, "layout=auto: images have the shape [6, 5]"),
        ({"images": GREY[:, :3, :, None]}, {}, "which does not tell where the channels are. Choices: NHW, "),
        ({"images": np.zeros((9, 6, 5, 4), np.uint8)}, {}, "does not tell where the channels are"),
        ({"images": np.zeros((9, 6, 5, 4), np.uint8)}, {"layout": "NHWC"}, "alpha is no colour"),
        ({"a": GREY, "b": GREY}, {}, "images=images: file.npz has no such array. Choices: a, b."),
        ({"images": GREY, "y": CLASSES[:7]}, {"labels": "y"}, "do not fit together"),
        ({"images": GREY, "y": CLASSES - 1}, {"labels": "y"}, "a class is 0 or more"),
        (
            {"images": GREY, "g": CLASSES[:7]},
            {"groups": "g"},
            "groups=g: has the shape [7], and one value an image",
        ),
        ({"images": GREY}, {"labels": "y.npy"}, "labels=y.npy: there is no such file, nor beside the images"),
        ({"images": GREY}, {"layout": "HWN"}, "layout=HWN: must be one of the choices."),
    ],
)
def test_what_is_no_data_set_is_refused(
    tmp_path: Path, arrays: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    assert said in refusal(tmp_path, write(tmp_path / "file.npz", **arrays), **settings)


def test_a_lack_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "whole.npz", images=GREY)

    def exhausted(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(stored_arrays._Member, "_next", exhausted)
    assert refusal(tmp_path, path) == f"path={path}: it needs more memory than there is."


def test_pickles_bombs_and_damage_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    assert "cannot be read" in refusal(tmp_path, path)
    path.write_bytes(b"not an array")
    assert "cannot be read" in refusal(tmp_path, path)
    whole = write(tmp_path / "whole.npz", images=GREY).read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refusal(tmp_path, cut)
    # A header that claims 10^12 pixels, of which none is there.
    header = np.lib.format.header_data_from_array_1_0(GREY) | {"shape": (10**6, 1000, 1000)}
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
    assert "cannot be read" in refusal(tmp_path, path)
    with monkeypatch.context() as patched:
        patched.setattr(array_files, "_MOST_BYTES", 700)
        for suffix in (".npz", ".h5"):
            # Each claims less, both together more.
            claiming = write(tmp_path / f"bomb{suffix}", images=0 * GREY[:20], labels=np.zeros(20, np.int64))
            read(tmp_path / f"one{suffix}", claiming)
            said = refusal(tmp_path, claiming, labels="labels")
            assert "packed arrays claim 760 bytes, and 700 are the most; unpack them to .npy files" in said
        unpacked = write(tmp_path / "unpacked.npy", images=GREY)
        read(tmp_path / "unpacked", unpacked)
    broken = bytearray(whole)
    broken[whole.index(b"images.npy") + 200] ^= 255
    cut.write_bytes(broken)
    assert "cannot be read" in refusal(tmp_path, cut)
    small = tmp_path / "small.npz"
    with zipfile.ZipFile(small, "w") as archive, archive.open("images.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, header)
    assert "cannot be read" in refusal(tmp_path, small)
    assert "there is no such file" in refusal(tmp_path, tmp_path / "nope.npy")
    with pytest.raises(SettingError, match=r"^path=None: must be the file of the arrays"):
        ArrayFile("mine").download(tmp_path / "raw")
