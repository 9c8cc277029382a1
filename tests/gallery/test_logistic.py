"""Sums of discretised logistics, against scipy's logistic and the published sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import logistic

from vae_likelihoods.gallery.logistic import (
    pmf_on_minus_one_to_one,
    pmf_with_end_bins,
    pmf_with_last_bin_at_099,
    pmf_without_end_bins,
)
from vae_likelihoods.gallery.record import GalleryRow

CASES = [(1.0, -1.0), (1.0, -7.0), (-1.0, -3.0), (0.1, -2.0), (0.0, -6.0)]


@pytest.mark.parametrize(("mean", "log_scale"), CASES)
def test_the_right_pmf_on_minus_one_to_one_is_scipys_with_its_tails_in_the_end_bins(
    mean: float, log_scale: float
) -> None:
    edges = np.arange(-254, 255, 2) / 255  # between 2k/255 - 1 and its neighbour
    cdf = logistic.cdf(edges, mean, math.exp(log_scale))
    expected = np.diff(cdf, prepend=0, append=1)
    assert pmf_on_minus_one_to_one(mean, log_scale) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("mean", "log_scale"), CASES)
def test_the_wrong_last_bin_counts_all_above_level_254_twice(mean: float, log_scale: float) -> None:
    twice = logistic.sf(254 / 255, mean, math.exp(log_scale))
    assert pmf_with_last_bin_at_099(mean, log_scale).sum() == pytest.approx(1 + twice, abs=1e-12)


def test_the_published_sums_of_the_wrong_last_bin(rows: dict[str, GalleryRow]) -> None:
    wide, sharp = rows["last_bin"].findings
    assert (wide.right, sharp.right) == pytest.approx((1, 1))
    assert (wide.wrong, sharp.wrong) == pytest.approx((1.50, 1.99), abs=0.005)


@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -3.0), (1.0, -3.0), (0.5, 0.0), (0.3, -5.0)])
def test_pmfs_on_zero_to_one_are_scipys(mean: float, log_scale: float) -> None:
    edges = np.linspace(0, 1, 257)
    cdf = logistic.cdf(edges, mean, math.exp(log_scale))
    assert pmf_without_end_bins(mean, log_scale) == pytest.approx(np.diff(cdf), abs=1e-12)
    cdf[[0, -1]] = 0, 1
    assert pmf_with_end_bins(mean, log_scale) == pytest.approx(np.diff(cdf), abs=1e-12)


def test_the_published_sums_without_end_bins(rows: dict[str, GalleryRow]) -> None:
    black, white, grey = rows["no_end_bins"].findings
    assert (black.right, white.right, grey.right) == pytest.approx((1, 1, 1))
    assert (black.wrong, white.wrong) == pytest.approx((0.50, 0.50), abs=0.005)
    assert grey.wrong == pytest.approx(0.245, abs=0.0005)
