"""What is said of images that are no levels: that it helps, in numpy and in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vae_likelihoods.errors import SettingError
from vae_likelihoods.trained.arrays import as_levels

SHAPES = {"grey": (1, 4, 5), "rgb": (3, 4, 5)}


def some(shape: tuple[int, int, int], levels: int) -> np.ndarray[Any, Any]:
    images = np.random.default_rng(0).integers(0, levels, (2, *shape), np.uint8)
    images[0, 0, 0, :2] = 0, levels - 1
    return images


def refused(given: Any, shape: tuple[int, int, int], levels: int, one: bool = False) -> str:
    with pytest.raises(SettingError) as error:
        as_levels("images", given, shape, levels, one)
    return str(error.value)


def helped(given: Any, shape: tuple[int, int, int], levels: int, one: bool = False) -> torch.Tensor:
    """Do what the refusal says."""
    advice = refused(given, shape, levels, one).rpartition("use ")[2].removesuffix(".")
    return as_levels("images", eval(advice, {"np": np, "images": given}), shape, levels, one)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_other_arrangements_are_advised_into_the_right_one(
    shape: tuple[int, int, int], library: Callable[..., Any]
) -> None:
    images = some(shape, 256)
    last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    for given, expected in ((last, images), (last[0], images[:1]), (images[0], images[:1])):
        assert np.array_equal(helped(library(given), shape, 256), expected)
    for given in (last[0], images[:1]):
        assert np.array_equal(helped(library(given), shape, 256, one=True), images[:1])
    if shape[0] == 1:
        assert np.array_equal(helped(library(images[:, 0]), shape, 256), images)
        assert np.array_equal(helped(library(images[0, 0]), shape, 256), images[:1])
        assert np.array_equal(helped(library(images[0, 0]), shape, 256, one=True), images[:1])


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_numbers_with_a_fraction_are_advised_into_levels(levels: int, library: Callable[..., Any]) -> None:
    images, shape = some(SHAPES["rgb"], levels), SHAPES["rgb"]
    zeros, few = np.zeros_like(images), images.clip(0, levels - 2)
    cases = [(images / (levels - 1), images), (images.astype(float), images), (zeros.astype(float), zeros)]
    cases += [(few + 0.25, few)] if levels > 2 else [(images.astype(bool), images)]
    for given, expected in cases:
        assert np.array_equal(helped(library(given), shape, levels), expected)


def test_nothing_is_advised_where_nothing_helps() -> None:
    images, shape = some(SHAPES["rgb"], 256), SHAPES["rgb"]
    needed = "images [N, 3, 4, 5] are needed."
    for given in (images[..., :4], images[:, :2], images[:0], images[:0].transpose(0, 2, 3, 1), images[0, 0]):
        assert refused(given, shape, 256) == f"images=shape {list(given.shape)}: {needed}"
    assert refused(images[0, 0], shape, 256, one=True).endswith("one image [3, 4, 5] is needed.")
    assert "no finite" in refused(np.where(images > 9, np.nan, images), shape, 256)
    for given in (images * 3.5, images - 128.0, images.astype(int) - 1, images.astype(np.uint16) * 257):
        assert refused(given, shape, 256).endswith("quantise them to 256 levels first.")
