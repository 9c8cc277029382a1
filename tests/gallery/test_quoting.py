"""Bits per dimension, quoted wrongly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow


def pixels(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Train and test pixels in [0, 1], [N, 784]."""
    return tuple(split.numpy().reshape(len(split), -1) / 255 for split in (images.train, images.test))


def test_without_the_bin_width_the_score_is_7_bits_too_good(rows: dict[str, GalleryRow]) -> None:
    width, _ = rows["no_bin_width"].findings
    assert width.damage == pytest.approx(6.994, abs=0.0005)
    assert width.wrong < width.right


def test_both_quotes_are_those_of_scipys_normal(images: Images, rows: dict[str, GalleryRow]) -> None:
    train, test = pixels(images)
    means, sigma = train.mean(0), math.sqrt(train.var(0).mean())
    width, mass = rows["no_bin_width"].findings
    density = stats.norm.logpdf(2 * test - 1, 2 * means - 1, 2 * sigma)
    assert width.wrong == mass.wrong == pytest.approx(-density.mean() / math.log(2), rel=1e-5)
    level = np.rint(255 * test)
    upper = np.where(level == 255, 1, stats.norm.cdf((level + 1) / 256, means, sigma))
    lower = np.where(level == 0, 0, stats.norm.cdf(level / 256, means, sigma))
    assert mass.right == pytest.approx(-np.log2(upper - lower).mean(), rel=1e-4)


def test_division_by_8_latents_is_off_by_98(images: Images, rows: dict[str, GalleryRow]) -> None:
    (bits,) = rows["divided_by_latents"].findings
    assert bits.damage == pytest.approx(784 / 8, rel=1e-12)
    train, test = (split >= 128 / 255 for split in pixels(images))
    rho = (train.sum(0) + 0.5) / (len(train) + 1)
    assert bits.right == pytest.approx(-stats.bernoulli.logpmf(test, rho).mean() / math.log(2), rel=1e-5)


def test_a_padded_frame_makes_28_pixels_a_side_cheaper_by_a_third(rows: dict[str, GalleryRow]) -> None:
    (bits,) = rows["padded_pixels"].findings
    assert bits.damage == pytest.approx(1024 / 784, rel=1e-12)
    assert bits.wrong < bits.right < 8
