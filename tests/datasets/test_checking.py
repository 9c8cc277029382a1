"""Arrays that are no data set are refused in one line, before anything is written; odd ones get a warning."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.datasets.quantise import levels_of
from vae_likelihoods.errors import SettingError

CLASSES = np.arange(60) % 3


class Mine(Source):
    """A source that returns the arrays that it is given."""

    def __init__(self, parts: Mapping[str, tuple[Any, Any]], native_levels: int = 256) -> None:
        super().__init__("mine", native_levels, 12, None if "test" in parts else 12, 0)
        self.parts = parts

    def download(self, folder: Path) -> list[str]:
        return []

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        return {part: LabelledArrays(*arrays) for part, arrays in self.parts.items()}


class OwnSplits(Mine):
    """A source that cuts its splits itself."""

    def splits(self, folder: Path) -> dict[str, Split]:
        data = self.read(folder)["train"]
        parts = zip(("train", "validation", "test"), np.split(np.arange(60), [40, 50]), strict=True)
        return {name: Split(LabelledArrays(data.images[i], data.labels[i]), "train", i) for name, i in parts}


def grey(*shape: int, top: int = 255) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top + 1, shape or (60, 1, 8, 8), dtype=np.uint8)


def prepared(source: Source, root: Path) -> PreparedDataset:
    prepare(source, root, root / "mine")
    return PreparedDataset(root / "mine")


REFUSED_IMAGES = {
    "channels last, grey": (grey(60, 28, 28, 1), "channels seem to be last; use images.transpose"),
    "channels last, colour": (grey(60, 28, 28, 3), "channels seem to be last; use images.transpose"),
    "channels last, alpha": (grey(60, 28, 28, 4), "channels seem to be last; use images.transpose"),
    "no channel axis": (grey(60, 28, 28), "add an axis for the channel: images[:, None]"),
    "two channels": (grey(60, 2, 8, 8), "2 channels, .* leave it out: images[:, :1]"),
    "alpha": (grey(60, 4, 8, 8), "alpha is no colour; leave it out: images[:, :3]"),
    "five channels": (grey(60, 5, 8, 8), "5 channels, and 1 (grey) or 3 (colour) are possible"),
    "floats to 1": (grey().astype(np.float32) / 255, "float32 from 0 to 1; .*(images * 255).round()"),
    "floats to 255": (grey().astype(np.float64), "float64 from 0 to 255; .*images.round().astype"),
    "floats about 0": (grey() / 127.5 - 1, "float64 from -1 to 1; .*scale them to this range"),
    "not a number": (np.where(grey() > 250, np.nan, 1.0), "values that are not finite"),
    "infinite": (np.where(grey() > 250, np.inf, 1.0), "values that are not finite"),
    "16 bits": (grey().astype(np.uint16) * 257, "uint16 from 0 to 65535; .*scale them"),
    "16 bits in range": (grey().astype(np.uint16), "uint16 from 0 to 255; .*images.astype(numpy.uint8)"),
    "negative": (grey().astype(np.int16) - 5, "int16 from -5 to 250"),
    "booleans": (grey() > 127, "are bool; uint8 levels 0 .. 255"),
    "objects": (grey().astype(object), "are object, not numbers"),
    "texts": (grey().astype(str), "not numbers"),
    "a list": (grey().tolist(), "are a list; make them a numpy array of uint8"),
    "none": (grey(0, 1, 8, 8), "there is nothing in them"),
    "no width": (grey(60, 1, 8, 0), "there is nothing in them"),
}  # fmt: skip
REFUSED_LABELS = {
    "unknown": (np.where(CLASSES == 0, -1, CLASSES), "reach from -1 to 2, .* give None"),
    "too large": (CLASSES.astype(np.uint64) + 2**63, "a class is 0 or more"),
    "floats": (CLASSES.astype(np.float32), "are float32, not whole numbers; number the classes"),
    "texts": (np.array(["a", "b", "c"])[CLASSES], "not whole numbers; number the classes"),
    "booleans": (CLASSES > 0, "are bool, not whole numbers"),
    "too few": (CLASSES[:59], "[59] and those of the images, [60, 1, 8, 8], do not fit together"),
    "too many axes": (CLASSES.reshape(60, 1, 1), "do not fit together"),
    "no factors": (CLASSES.reshape(60, 1)[:, :0], "do not fit together"),
    "a list": (CLASSES.tolist(), "are a list; make them a numpy array, or None"),
}


def pattern(text: str) -> str:
    """Return a text as a pattern in which only ``.*`` has a meaning."""
    return ".*".join(map(re.escape, text.split(".*")))


def refused(source: Source, reason: str, root: Path) -> None:
    """Check that a source is refused in one line, and leaves nothing."""
    with pytest.raises(SettingError, match=pattern(reason)) as error:
        prepare(source, root, root / "mine")
    assert "\n" not in str(error.value)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("which", REFUSED_IMAGES)
def test_images_that_are_no_levels_are_refused(which: str, tmp_path: Path) -> None:
    images, reason = REFUSED_IMAGES[which]
    source = Mine({"train": (images, CLASSES[: len(images)])})
    refused(source, f"dataset=mine: the images of train .*{reason}", tmp_path)


@pytest.mark.parametrize("which", REFUSED_LABELS)
def test_labels_that_are_neither_classes_nor_factors_are_refused(which: str, tmp_path: Path) -> None:
    labels, reason = REFUSED_LABELS[which]
    refused(Mine({"train": (grey(), labels)}), f"dataset=mine: the labels of train .*{reason}", tmp_path)


@pytest.mark.parametrize("which", ["channels last, colour", "alpha", "floats to 1"])
def test_splits_that_a_source_cuts_itself_are_checked_too(which: str, tmp_path: Path) -> None:
    images, reason = REFUSED_IMAGES[which]
    source = OwnSplits({"train": (images, CLASSES)})
    refused(source, f"dataset=mine: the images of train .*{reason}", tmp_path)


@pytest.mark.parametrize(
    ("test", "labels", "reason"),
    [
        (grey(20, 1, 10, 10), CLASSES[:20], "images of its parts differ: train 1x8x8, test 1x10x10; crop"),
        (grey(20, 3, 8, 8), CLASSES[:20], "images of its parts differ: train 1x8x8, test 3x8x8; crop"),
        (grey(20, 1, 8, 8), None, "labels of its parts differ: train classes, test none; give"),
        (
            grey(20, 1, 8, 8),
            np.zeros((20, 2), int),
            "labels of its parts differ: train classes, test 2 factors",
        ),
        (grey(0, 1, 8, 8), CLASSES[:0], "the images of test have the shape [0, 1, 8, 8]: there is nothing"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(
    test: np.ndarray, labels: Any, reason: str, tmp_path: Path
) -> None:
    source = Mine({"train": (grey(), CLASSES), "test": (test, labels)})
    refused(source, reason, tmp_path)


def test_levels_of_the_test_part_are_checked_too(tmp_path: Path) -> None:
    source = Mine({"train": (grey(top=16), CLASSES), "test": (grey(top=32), CLASSES)}, native_levels=17)
    with pytest.raises(SettingError, match=r"native_levels=17: the images of mine reach level 32"):
        prepare(source, tmp_path, tmp_path / "mine")


@pytest.mark.parametrize("parts", [("test",), ("train", "validation"), ()])
def test_parts_of_other_names_are_refused(parts: tuple[str, ...], tmp_path: Path) -> None:
    source = Mine(dict.fromkeys(parts, (grey(), CLASSES)))
    with pytest.raises(SettingError, match=r"dataset=mine: it has .*; it must have train or train, test"):
        prepare(source, tmp_path, tmp_path / "mine")


def test_pixels_of_0_and_1_are_not_taken_for_256_levels(tmp_path: Path) -> None:
    coins = grey(top=1)
    with pytest.raises(
        SettingError, match=r"native_levels=256: the highest level in mine is 1 of 255; write 2"
    ):
        prepare(Mine({"train": (coins, CLASSES)}), tmp_path, tmp_path / "mine")
    data = prepared(Mine({"train": (coins, CLASSES)}, native_levels=2), tmp_path)
    assert set(data.split("train").images.unique().tolist()) == {0, 1}


def test_levels_that_make_all_pixels_the_same_are_refused(tmp_path: Path) -> None:
    """Dark images have no contrast at two levels; a score of 0 bits would be the best of all."""
    data = prepared(Mine({"train": (grey(top=100), CLASSES)}), tmp_path)
    with pytest.raises(SettingError, match=r"levels=2: the images of mine, of levels 0 to 100, would all"):
        levels_of(data, "train", 2)
    assert levels_of(data, "train", 4).images.max() == 1
    assert set(levels_of(data, "train", 2, "stochastic").of_epoch(0, 0).unique().tolist()) == {0, 1}


def warnings_of(source: Source, root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING):
        prepare(source, root, root / "mine")
    return [record.getMessage() for record in caplog.records]


def test_ordinary_images_get_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(Mine({"train": (grey(), CLASSES)}), tmp_path, caplog) == []


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (grey(top=3), "of 256 levels only 4 levels, from 0 to 3, occur; check native_levels"),
        (grey(top=1) * 255, "of 256 levels only 2 levels, from 0 to 255, occur"),
    ],
)
def test_images_that_use_few_levels_get_a_warning(
    images: np.ndarray, found: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (text,) = warnings_of(Mine({"train": (images, CLASSES)}), tmp_path, caplog)
    assert text.startswith(f"mine: {found}")


def test_images_that_are_nearly_constant_get_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.full((60, 1, 8, 8), 7, np.uint8)
    images[0, 0, 0, 0] = 255
    texts = warnings_of(Mine({"train": (images, CLASSES)}), tmp_path, caplog)
    assert "mine: the images are nearly constant: 99.97 % of the pixels have level 7" in texts


def test_images_that_are_in_two_splits_get_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = grey()
    images[:40] = images[0]  # more than any split but train can hold
    text, within = warnings_of(Mine({"train": (images, CLASSES)}), tmp_path, caplog)
    repeats = r"\d+ of 12 images of {} are in {} too"
    expected = [
        repeats.format(*pair) for pair in (("validation", "train"), ("test", "train"), ("test", "validation"))
    ]
    assert re.fullmatch(f"mine: {'; '.join(expected)}: remove repeated images from the source", text)
    expected = [rf"\d+ of 12 images of {name}" for name in ("validation", "test")]
    assert re.fullmatch(f"mine: {'; '.join(expected)} are copies of another one there, so few .*", within)


def test_grey_images_in_three_channels_get_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = grey().repeat(3, axis=1)
    (text,) = warnings_of(Mine({"train": (images, CLASSES)}), tmp_path, caplog)
    assert text.startswith("mine: all images have the same levels in all channels: they are grey")
    images[7, 2, 3, 3] ^= 1
    assert warnings_of(Mine({"train": (images, CLASSES)}), tmp_path, caplog) == [text]


def test_as_many_names_as_images_are_needed(tmp_path: Path) -> None:
    class Named(Mine):
        def read(self, folder: Path) -> dict[str, LabelledArrays]:
            return {"train": LabelledArrays(grey(), CLASSES, names=["only.png"])}

    with pytest.raises(SettingError, match=r"mine: train has 60 images and 1 names; give each image one"):
        prepared(Named({"train": (grey(), CLASSES)}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_changed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Changed(Mine):
        def notes(self, folder: Path) -> list[str]:
            return ["turned: 3 images"]

    assert warnings_of(Changed({"train": (grey(), CLASSES)}), tmp_path, caplog) == ["mine: turned: 3 images"]


def test_a_class_of_one_image_is_drawn_with_the_most_frequent_class(tmp_path: Path) -> None:
    """It can be in any split, as likely as any other image; which one depends on the seed."""
    labels, places = np.r_[9, CLASSES[1:]], set()
    for seed in range(12):
        source = Mine({"train": (grey(), labels)})
        source.split_seed = seed
        splits = source.splits(tmp_path)
        assert sorted(np.concatenate([each.indices for each in splits.values()])) == list(range(60))
        places |= {name for name, split in splits.items() if 0 in split.indices}
    assert places == {"train", "validation", "test"}


def test_a_data_set_without_labels(tmp_path: Path) -> None:
    data = prepared(Mine({"train": (grey(), None)}), tmp_path)
    for name, count in (("train", 36), ("validation", 12), ("test", 12)):
        images, labels = data.split(name)
        assert (len(images), data.count(name), labels) == (count, count, None)
        assert levels_of(data, name, 4).to("cpu").labels is None
    data.verify()
    assert not list(data.folder.glob("*labels*"))
    assert "counts_per_class" not in data.manifest["splits"]["train"]


def test_labels_decide_how_images_are_cut_and_nothing_else(tmp_path: Path) -> None:
    """Without labels the cut is that of a single class."""
    none, one = (Mine({"train": (grey(), labels)}).splits(tmp_path) for labels in (None, CLASSES * 0))
    assert {name: split.indices.tolist() for name, split in none.items()} == {
        name: split.indices.tolist() for name, split in one.items()
    }


@pytest.mark.parametrize("kind", [Mine, OwnSplits])
def test_labels_that_are_factors(kind: type[Mine], tmp_path: Path) -> None:
    factors = np.stack([CLASSES, np.arange(60) % 4], 1).astype(np.uint8)
    data = prepared(kind({"train": (grey(), factors)}), tmp_path)
    for name in ("train", "validation", "test"):
        labels = data.split(name).labels
        assert labels is not None
        assert labels.shape == (data.count(name), 2)
        assert str(labels.dtype) == "torch.int64"
    assert data.manifest["splits"]["train"]["values_per_factor"] == [3, 4]


@pytest.mark.parametrize("shape", [(60, 1, 200, 1), (60, 3, 1, 1), (60, 1, 3, 3)])
def test_images_of_any_size_are_prepared(shape: tuple[int, ...], tmp_path: Path) -> None:
    data = prepared(Mine({"train": (grey(*shape), CLASSES)}), tmp_path)
    assert data.shape == shape[1:]
    assert data.split("train").images.shape[1:] == shape[1:]
