"""SSIM by its definition, window by window with numpy, and of images whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import metrics

from vae_likelihoods.metrics.measures.similarity import structural_similarity

rng = np.random.default_rng(0)


def by_definition(x: np.ndarray, y: np.ndarray, size: int) -> float:
    """Return the mean over windows of equation 13 of Wang et al. (2004), weighted by equations 14 to 16."""
    places = np.arange(size) - size // 2
    line = np.exp(-(places**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    result = []
    for top in range(x.shape[0] - size + 1):
        for left in range(x.shape[1] - size + 1):
            a, b = (image[top : top + size, left : left + size] for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            spread_a, spread_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            together = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            result.append(luminance * (2 * together + 9e-4) / (spread_a + spread_b + 9e-4))
    return float(np.mean(result))


@pytest.mark.parametrize(("side", "size"), [(28, 11), (11, 11), (12, 11), (8, 7), (7, 7), (2, 1)])
def test_it_is_its_definition(side: int, size: int) -> None:
    x = rng.random((3, 1, side, side))
    y = np.clip(x + 0.2 * rng.normal(size=x.shape), 0, 1)
    result = structural_similarity(torch.from_numpy(x), torch.from_numpy(y))
    expected = [by_definition(a[0], b[0], size) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(result, expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 11, 11), (3, 16, 12)])
def test_it_is_that_of_scikit_image_where_the_window_of_11_pixels_fits(shape: tuple[int, int, int]) -> None:
    x = rng.random((5, *shape))
    y = np.clip(x + 0.2 * rng.normal(size=x.shape), 0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [
        metrics.structural_similarity(a, b, channel_axis=0, **settings) for a, b in zip(x, y, strict=True)
    ]
    result = structural_similarity(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_channels_are_averaged() -> None:
    x, y = torch.from_numpy(rng.random((2, 2, 3, 12, 9)))
    apart = [structural_similarity(x[:, [c]], y[:, [c]]) for c in range(3)]
    np.testing.assert_allclose(structural_similarity(x, y), np.mean(apart, 0), rtol=1e-12)


def test_equal_images_have_one_and_others_less() -> None:
    x = torch.from_numpy(rng.random((4, 1, 16, 16)))
    assert structural_similarity(x, x) == pytest.approx([1.0] * 4)
    assert (structural_similarity(x, x.flip(-1)) < 0.9).all()
    assert (structural_similarity(x, 1 - x) < 0).all()  # the contrast turned round


def test_black_against_white_has_next_to_none() -> None:
    """No variance: only the luminance is left, C1 / (1 + C1)."""
    black, white = torch.zeros(1, 1, 28, 28), torch.ones(1, 1, 28, 28)
    assert structural_similarity(black, white) == pytest.approx([1e-4 / (1 + 1e-4)])
