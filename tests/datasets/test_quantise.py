from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.datasets.quantise import binarize, check_levels, draw, levels_of, quantise
from vae_likelihoods.errors import SettingError
from vae_likelihoods.seeding import generator

ALL = {native: torch.arange(native, dtype=torch.uint8) for native in (2, 3, 17, 200, 256)}


@pytest.mark.parametrize("native", ALL)
def test_quantise_is_the_formula_for_every_k(native: int) -> None:
    for levels in range(2, native + 1):
        expected = [int(k) * levels // native for k in range(native)]
        quantised = quantise(ALL[native], native, levels)
        assert quantised.dtype == torch.uint8
        assert quantised.tolist() == expected
        assert sorted(set(expected)) == list(range(levels))  # every level is reached, none beyond


def test_known_values() -> None:
    assert quantise(torch.tensor([0, 127, 128, 255], dtype=torch.uint8), 256, 2).tolist() == [0, 0, 1, 1]
    assert quantise(ALL[17], 17, 2).tolist() == [0] * 9 + [1] * 8
    assert quantise(ALL[256], 256, 255)[[0, 1, 254, 255]].tolist() == [0, 0, 253, 254]


def test_at_native_levels_nothing_changes() -> None:
    assert quantise(ALL[256], 256, 256) is ALL[256]


@pytest.mark.parametrize("levels", [1, 0, -2, 18, 256, 2.0, True, "2", None])
def test_impossible_levels_are_refused(levels: object) -> None:
    with pytest.raises(SettingError, match=rf"^levels={levels}: must be 2 to 17, .* 17 levels") as error:
        quantise(ALL[17], 17, levels)  # type: ignore[arg-type]
    assert error.value.key == "levels"


@pytest.mark.parametrize("native", ALL)
def test_a_pixel_is_on_with_its_probability(native: int) -> None:
    draws = 20_000
    images = ALL[native].expand(draws, native)
    on = binarize(images, native, generator(0, "test"))
    assert on.dtype == torch.uint8
    assert on.max() == 1
    expected = np.arange(native) / (native - 1)
    error = (expected * (1 - expected) / draws) ** 0.5
    assert (np.abs(on.double().mean(0).numpy() - expected) <= 4.5 * error).all()  # 0 and 255 exactly


def test_pixels_are_drawn_independently() -> None:
    on = binarize(torch.full((40_000, 4), 127, dtype=torch.uint8), 255, generator(0, "test")).double()
    correlation = np.corrcoef(on.numpy().T) - np.eye(4)
    assert np.abs(correlation).max() < 4.5 / 200


def test_each_epoch_and_each_seed_has_its_own_draw() -> None:
    images = torch.full((50, 1, 8, 8), 100, dtype=torch.uint8)
    first = draw(images, 256, seed=0, epoch=1)
    torch.testing.assert_close(first, draw(images, 256, seed=0, epoch=1), rtol=0, atol=0)
    for seed, epoch in ((0, 2), (1, 1)):
        differing = (first != draw(images, 256, seed, epoch)).double().mean()
        assert 0.4 < differing < 0.55  # 2 p (1 - p) = 0.477 for p = 100 / 255


class Grey(Source):
    """Random images at 256 levels."""

    def download(self, folder: Path) -> list[str]:
        return []

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        images = np.random.default_rng(0).integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)
        return {"train": LabelledArrays(images, np.arange(60) % 3)}


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    prepare(Grey("grey", 256, 9, 12, 0), tmp_path, tmp_path / "grey")
    return PreparedDataset(tmp_path / "grey")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_threshold_gives_the_same_levels_every_epoch(data: PreparedDataset, split: str, levels: int) -> None:
    seen, native = levels_of(data, split, levels), data.split(split)
    torch.testing.assert_close(seen.images, quantise(native.images, 256, levels), rtol=0, atol=0)
    assert seen.of_epoch(0, 1) is seen.images
    assert seen.labels.tolist() == native.labels.tolist()
    assert seen.images.max() == int(native.images.max()) * levels // 256


@pytest.mark.parametrize("split", ["validation", "test"])
def test_stochastic_scores_every_run_on_one_draw(data: PreparedDataset, split: str) -> None:
    once, again = (levels_of(data, split, 2, "stochastic") for _ in range(2))
    assert once.sha256 == again.sha256
    assert once.of_epoch(0, 1) is once.images
    assert once.of_epoch(5, 9) is once.images
    assert set(once.images.unique().tolist()) == {0, 1}
    assert once.sha256 != levels_of(data, split, 2, "threshold").sha256


def test_the_fixed_draw_belongs_to_the_data(data: PreparedDataset) -> None:
    drawn = levels_of(data, "test", 2, "stochastic").images
    expected = binarize(data.split("test").images, 256, generator(0, "binarize", data.sha256, "test"))
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0)


def test_stochastic_training_sees_fresh_pixels(data: PreparedDataset) -> None:
    train = levels_of(data, "train", 2, "stochastic")
    native = data.split("train").images
    torch.testing.assert_close(train.of_epoch(3, 7), draw(native, 256, 3, 7), rtol=0, atol=0)
    assert (train.of_epoch(3, 7) != train.of_epoch(3, 8)).any()
    mean = torch.stack([train.of_epoch(0, epoch) for epoch in range(400)]).double().mean(0)
    assert (mean - native / 255).abs().max() < 5 * 0.5 / 20


def test_training_reads_no_test_image(data: PreparedDataset) -> None:
    for path in data.folder.glob("test_*"):
        path.unlink()
    for method in ("threshold", "stochastic"):
        assert len(levels_of(data, "train", 2, method).images) == 39
        assert len(levels_of(data, "validation", 2, method).images) == 9


def test_moves_to_a_device(data: PreparedDataset) -> None:
    moved = levels_of(data, "train", 2, "stochastic").to("meta")
    assert (moved.images.device.type, moved.labels.device.type, moved.redrawn) == ("meta", "meta", True)


def test_the_hash_is_that_of_the_bytes(data: PreparedDataset) -> None:
    seen = levels_of(data, "test", 256)
    assert seen.sha256 == hashlib.sha256(np.load(data.folder / "test_images.npy").tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("levels", "way", "key"),
    [
        (257, "threshold", "levels"),
        (1, "stochastic", "levels"),
        (3, "stochastic", "binarize"),
        (2, "coin", "binarize"),
    ],
)
def test_impossible_settings_are_refused_before_reading(
    data: PreparedDataset, levels: int, way: str, key: str
) -> None:
    for path in data.folder.glob("*.npy"):
        path.unlink()
    with pytest.raises(SettingError) as error:
        levels_of(data, "train", levels, way)  # type: ignore[arg-type]
    assert error.value.key == key
    with pytest.raises(SettingError, match=str(error.value).split(":")[0]):
        check_levels(256, levels, way)  # type: ignore[arg-type]


def test_images_in_0_to_1_are_not_taken_for_levels() -> None:
    images = ALL[256].float() / 255
    with pytest.raises(SettingError, match=r"images=torch.float32: native levels are uint8"):
        quantise(images, 256, 4)
    with pytest.raises(SettingError, match=r"images=torch.float32: native levels are uint8"):
        binarize(images, 256, generator(0, "test"))


def test_binary_data_can_be_drawn_too() -> None:
    torch.testing.assert_close(binarize(ALL[2], 2, generator(0, "test")), ALL[2], rtol=0, atol=0)
