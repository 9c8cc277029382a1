"""The Fréchet distance against scipy's matrix root and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from vae_likelihoods.metrics.measures.frechet import frechet_distance

rng = np.random.default_rng(0)


def reference(left: np.ndarray, right: np.ndarray) -> float:
    """Return the distance as Heusel et al. (2017) write it, with scipy's root."""
    a, b = np.cov(left, rowvar=False), np.cov(right, rowvar=False)
    root = sqrtm(a @ b).real
    return float(np.square(left.mean(0) - right.mean(0)).sum() + np.trace(a + b - 2 * root))


@pytest.mark.parametrize("features", [2, 16, 64])
def test_it_is_that_of_scipy(features: int) -> None:
    mixed = rng.normal(size=(features, features))
    left, right = rng.normal(size=(300, features)) @ mixed, 0.5 + 2 * rng.normal(size=(200, features))
    result = frechet_distance(torch.from_numpy(left), torch.from_numpy(right))
    assert result == pytest.approx(reference(left, right), rel=1e-8)


def test_independent_features_add_up_the_differences_of_mean_and_scale() -> None:
    """Four points with the mean m and a diagonal covariance: |m - m'|^2 + sum (s - s')^2."""
    corners = np.sqrt(3) / 2 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1.0]])  # covariance 1
    left, right = corners * [1, 2] + [3, 0], corners * [2, 5] + [0, 4]
    result = frechet_distance(torch.from_numpy(left), torch.from_numpy(right))
    assert result == pytest.approx(25 + 1 + 9)


def test_equal_sets_have_none() -> None:
    points = torch.from_numpy(rng.normal(size=(50, 8)))
    assert frechet_distance(points, points) == pytest.approx(0.0, abs=1e-9)


def test_singular_covariances_do_no_harm() -> None:
    """More features than points, and one that is constant, as a rectifier's can be.

    With C = X^T X and C' = Y^T Y the trace of (C C')^(1/2) is the sum of the singular values of X Y^T.
    """
    left, right = rng.normal(size=(10, 30)), rng.normal(size=(12, 30))
    left[:, 0] = right[:, 0] = 0.0
    x, y = ((each - each.mean(0)) / np.sqrt(len(each) - 1) for each in (left, right))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    expected = np.square(left.mean(0) - right.mean(0)).sum() + (x**2).sum() + (y**2).sum() - 2 * root
    assert frechet_distance(torch.from_numpy(left), torch.from_numpy(right)) == pytest.approx(expected)


def test_it_is_the_same_both_ways() -> None:
    left, right = torch.from_numpy(rng.normal(size=(40, 5))), torch.from_numpy(rng.normal(size=(60, 5)) * 3)
    assert frechet_distance(left, right) == pytest.approx(frechet_distance(right, left), rel=1e-10)


def test_few_points_of_one_law_are_apart_by_a_bias_that_falls_with_their_number() -> None:
    points = torch.from_numpy(rng.normal(size=(8000, 16)))
    few = np.mean([frechet_distance(a, b) for a, b in zip(*[iter(points.split(100))] * 2, strict=True)])
    many = np.mean([frechet_distance(a, b) for a, b in zip(*[iter(points.split(1000))] * 2, strict=True)])
    assert few > 5 * many > 0
