"""Splits of images that belong together, against what a person would cut."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError


class Given(Source):
    """Images of which only groups and labels matter."""

    def __init__(
        self,
        groups: np.ndarray | None,
        test: float = 0.1,
        validation: float = 0.1,
        seed: int = 0,
        labels: np.ndarray | None = None,
        count: int = 1000,
    ) -> None:
        super().__init__("given", 256, validation, test, seed)
        self.groups, self.labels = groups, labels
        self.count = count if groups is None else len(groups)

    def download(self, folder: Path) -> list[str]:
        return []

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        images = np.random.default_rng(0).integers(0, 256, (self.count, 1, 2, 2), dtype=np.uint8)
        return {"train": LabelledArrays(images, self.labels, self.groups)}


def cut(source: Source) -> dict[str, Split]:
    """Return the splits; every image is in one of them, and no group in two."""
    splits = source.splits(Path())
    indices = np.concatenate([split.indices for split in splits.values()])
    assert sorted(indices) == list(range(len(indices)))
    groups = source.read(Path())["train"].groups
    if groups is not None:
        of_split = [np.unique(groups[split.indices]) for split in splits.values()]
        assert len(np.concatenate(of_split)) == len(np.unique(groups))
    return splits


def sizes(source: Source) -> tuple[int, ...]:
    splits = cut(source)
    return tuple(len(splits[name].indices) for name in ("train", "validation", "test"))


def one_pair(count: int = 1000) -> np.ndarray:
    groups = np.arange(count)
    groups[1] = 0
    return groups


@pytest.mark.parametrize(
    ("test", "validation", "expected"),
    [
        (100, 100, (800, 100, 100)),
        (700, 100, (200, 100, 700)),
        (300, 100, (600, 100, 300)),
        (0.4, 0.1, (500, 100, 400)),
        (0.3, 0.3, (400, 300, 300)),
        (1, 998, (1, 998, 1)),
    ],
)
def test_one_pair_of_copies_changes_no_size(
    test: float, validation: float, expected: tuple[int, ...]
) -> None:
    assert sizes(Given(one_pair(), test, validation)) == expected


def test_without_groups_and_copies_the_cut_is_that_of_scikit_learn() -> None:
    labels = np.arange(1000) % 7
    expected, test = train_test_split(np.arange(1000), test_size=100, stratify=labels, random_state=5)
    expected, validation = train_test_split(
        expected, test_size=100, stratify=labels[expected], random_state=5
    )
    for groups in (None, np.random.default_rng(0).permutation(1000)):  # each image a group of its own
        splits = cut(Given(groups, seed=5, labels=labels))
        for name, indices in (("train", expected), ("validation", validation), ("test", test)):
            np.testing.assert_array_equal(splits[name].indices, indices)


@pytest.mark.parametrize("seed", range(4))
def test_a_group_larger_than_the_split_goes_to_train(seed: int) -> None:
    groups = np.arange(457)
    groups[:400] = 0
    splits = cut(Given(groups, seed=seed))
    assert set(range(400)) <= set(splits["train"].indices)
    assert len(splits["test"].indices) == 46


@pytest.mark.parametrize(
    ("patients", "expected"),
    [(3, (20, 20, 20)), (5, (60, 20, 20)), (9, (140, 20, 20)), (12, (200, 20, 20)), (40, (640, 80, 80))],
)
def test_three_groups_are_enough(patients: int, expected: tuple[int, ...]) -> None:
    assert sizes(Given(np.repeat(np.arange(patients), 20))) == expected


def test_fewer_groups_than_splits_are_refused_with_the_least_number() -> None:
    with pytest.raises(SettingError, match=r"^given: its 40 images are 2 groups, .* need at least 3 groups"):
        Given(np.repeat([0, 1], 20)).splits(Path())


def test_small_groups_do_not_use_up_what_validation_needs() -> None:
    assert sizes(Given(np.array([0, 1, *[2] * 98]), 10, 10)) == (98, 1, 1)


@pytest.mark.parametrize("seed", range(8))
def test_no_group_that_is_left_would_bring_the_size_nearer(seed: int) -> None:
    draw = np.random.default_rng(seed)
    groups = np.repeat(np.arange(200), draw.geometric(0.15, 200))
    size = int(draw.integers(20, len(groups) // 3))
    splits = cut(Given(groups, size, 10, seed))
    others = np.setdiff1d(np.arange(len(groups)), splits["test"].indices)
    _, left = np.unique(groups[others], return_counts=True)
    missing = size - len(splits["test"].indices)
    assert abs(missing) <= np.abs(missing - left).min()
    assert abs(missing) <= size / 10


def test_whole_groups_are_cut_in_proportion_to_the_classes() -> None:
    draw, groups = np.random.default_rng(0), one_pair(2000)
    labels = draw.choice(4, 2000, p=[0.6, 0.3, 0.08, 0.02])
    labels[1] = labels[0]
    for split in cut(Given(groups, 200, 200, labels=labels)).values():
        share = np.bincount(labels[split.indices], minlength=4) / len(split.indices)
        np.testing.assert_allclose(share, np.bincount(labels) / 2000, atol=1 / 200)
    # Patients with images of several classes.
    groups, patients = np.repeat(np.arange(400), 5), draw.choice(4, 400)
    labels = np.where(draw.random(2000) < 0.7, patients[groups], draw.choice(4, 2000))
    for split in cut(Given(groups, 200, 200, labels=labels)).values():
        share = np.bincount(labels[split.indices], minlength=4) / len(split.indices)
        np.testing.assert_allclose(share, np.bincount(labels) / 2000, atol=0.03)


def test_the_cut_hangs_on_the_seed_alone() -> None:
    tests = [cut(Given(one_pair(), seed=seed))["test"].indices for seed in (0, 0, 1)]
    np.testing.assert_array_equal(tests[0], tests[1])
    assert len(np.intersect1d(tests[0], tests[2])) < 50
    assert (np.diff(tests[0]) < 0).any()  # shuffled


def test_time_grows_with_the_number_of_images() -> None:
    start = time.monotonic()
    assert sizes(Given(one_pair(60_000))) == (48_000, 6_000, 6_000)
    assert time.monotonic() - start < 10  # folds would take minutes


def test_a_split_of_another_size_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare(Given(np.repeat(np.arange(9), 20)), tmp_path, tmp_path / "nine")
    said = "validation has 20 images, and 18 were asked for; test has 20 images, and 18 were asked for"
    assert f"given: {said}: groups, and copies, cannot be divided" in caplog.messages
    caplog.clear()
    prepare(Given(np.repeat(np.arange(100), 10)), tmp_path, tmp_path / "hundred")
    assert not [message for message in caplog.messages if "asked for" in message]


@pytest.mark.parametrize(("size", "most"), [(1000, 999), (1001, 999)])
def test_sizes_that_leave_nothing_are_refused(size: int, most: int) -> None:
    with pytest.raises(SettingError, match=rf"^test_size={size}: 1 to {most} can be cut from 1000 images"):
        Given(one_pair(), size).splits(Path())
