"""Files of arrays, from the file to the splits."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.datasets import array_files
from vae_likelihoods.datasets.array_files import ArrayFile
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
                file[name] = array
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


def test_labels_from_a_file_of_their_own_may_be_factors(tmp_path: Path) -> None:
    path = write(tmp_path / "file.npy", images=GREY)
    np.save(tmp_path / "factors.npy", np.stack([CLASSES, CLASSES // 2], 1))
    assert read(tmp_path, path, labels="factors.npy")["train"].labels.shape == (40, 2)


def test_exact_copies_stay_together(tmp_path: Path) -> None:
    path = write(tmp_path / "file.npy", images=np.concatenate([GREY, GREY[:20]]))
    source = ArrayFile("mine", str(path), test_size=0.3, validation_size=0.3)
    source.download(tmp_path / "raw")
    contents = [
        {image.tobytes() for image in split.data.images} for split in source.splits(tmp_path / "raw").values()
    ]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 40


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
        ({"images": GREY, "g": CLASSES[:7]}, {"groups": "g"}, "groups=g: has the shape [7], and one group"),
        ({"images": GREY}, {"labels": "y.npy"}, "labels=y.npy: there is no such file, nor beside the images"),
        ({"images": GREY}, {"layout": "HWN"}, "layout=HWN: must be one of the choices."),
    ],
)
def test_what_is_no_data_set_is_refused(
    tmp_path: Path, arrays: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    assert said in refusal(tmp_path, write(tmp_path / "file.npz", **arrays), **settings)


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
        patched.setattr(array_files, "_MOST_BYTES", 1000)
        for suffix in (".npz", ".h5"):
            claiming = write(tmp_path / f"bomb{suffix}", images=0 * GREY)
            assert "and 1,000 are the most" in refusal(tmp_path, claiming)
    small = tmp_path / "small.npz"
    with zipfile.ZipFile(small, "w") as archive, archive.open("images.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, header)
    assert "cannot be read" in refusal(tmp_path, small)
    assert "there is no such file" in refusal(tmp_path, tmp_path / "nope.npy")
    with pytest.raises(SettingError, match=r"^path=None: must be the file of the arrays"):
        ArrayFile("mine").download(tmp_path / "raw")
