"""Precision, recall, density, coverage and nearest neighbours, by definition with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from vae_likelihoods.metrics.measures import neighbours
from vae_likelihoods.metrics.measures.neighbours import likeness, nearest, radii

rng = np.random.default_rng(0)


def in_balls(middles: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Return [N, M]: whether each point lies in the ball of each middle, looked up one by one."""
    reach = NearestNeighbors(n_neighbors=k + 1).fit(middles).kneighbors(middles)[0][:, -1]  # itself is one
    tree = NearestNeighbors().fit(points)
    inside = np.zeros((len(middles), len(points)), dtype=bool)
    for row, (middle, radius) in enumerate(zip(middles, reach, strict=True)):
        result = tree.radius_neighbors(middle[None], radius, return_distance=False)[0]
        inside[row, result] = True
    return inside


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0, 10.0])
def test_they_are_what_their_papers_define(k: int, shift: float) -> None:
    real, generated = rng.normal(size=(80, 4)), shift + 0.7 * rng.normal(size=(60, 4))
    result = likeness(torch.from_numpy(real), torch.from_numpy(generated), k)
    of_real, of_generated = in_balls(real, generated, k), in_balls(generated, real, k)
    assert result.precision == pytest.approx(of_real.any(0).mean())
    assert result.recall == pytest.approx(of_generated.any(0).mean())
    assert result.density == pytest.approx(of_real.sum() / (k * 60))
    assert result.coverage == pytest.approx(of_real.any(1).mean())


def test_far_sets_share_nothing() -> None:
    near, far = torch.from_numpy(rng.normal(size=(50, 3))), 100 + torch.from_numpy(rng.normal(size=(50, 3)))
    assert likeness(near, far, 5) == (0.0, 0.0, 0.0, 0.0)


def test_one_mode_of_two_is_precise_and_covers_a_half() -> None:
    real = torch.from_numpy(np.vstack([rng.normal(size=(100, 2)), 100 + rng.normal(size=(100, 2))]))
    result = likeness(real, torch.from_numpy(rng.normal(size=(200, 2))), 5)
    assert result.precision > 0.9
    assert result.recall < 0.55
    assert result.coverage == pytest.approx(0.5, abs=0.05)


def test_sets_of_one_law_have_the_coverage_and_density_that_are_expected() -> None:
    """Density 1; coverage 1 - (N - 1)...(N - k) / ((2N - 1)...(2N - k)) (Naeem et al. 2020, section 3)."""
    count, k = 200, 5
    repeats = [likeness(*torch.from_numpy(rng.normal(size=(2, count, 3))).unbind(0), k) for _ in range(30)]
    below = np.prod([(count - i) / (2 * count - i) for i in range(1, k + 1)])
    assert np.mean([repeat.coverage for repeat in repeats]) == pytest.approx(1 - below, abs=0.005)
    assert np.mean([repeat.density for repeat in repeats]) == pytest.approx(1.0, abs=0.03)


def test_more_neighbours_than_there_are_are_all_there_are() -> None:
    points = torch.from_numpy(rng.normal(size=(4, 2)))
    assert likeness(points, points, 50) == likeness(points, points, 3)


def test_radii_and_nearest_are_those_of_scikit_learn() -> None:
    points, others = rng.normal(size=(40, 6)), rng.normal(size=(30, 6))
    expected = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(points)[0][:, 3]
    np.testing.assert_allclose(radii(torch.from_numpy(points), 3), expected)
    expected = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(points)[0][:, 0]
    np.testing.assert_allclose(nearest(torch.from_numpy(points), torch.from_numpy(others)), expected)


def test_a_copy_is_at_no_distance_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.from_numpy(1000 + 0.01 * rng.normal(size=(40, 6)))
    whole = nearest(points, torch.cat([points[:20], points[20:] + 1]))
    assert (whole[:20] == 0).all()
    assert (whole[20:] > 0).all()
    monkeypatch.setattr(neighbours, "LARGEST", 1)
    assert torch.equal(nearest(points, torch.cat([points[:20], points[20:] + 1])), whole)
