"""MIG and DCI of planted codes and factors."""

from __future__ import annotations

import numpy as np
import pytest

from vae_likelihoods.metrics.measures.disentangling import (
    Factors,
    completeness,
    dci,
    disentanglement,
    mutual_information_gap,
)

rng = np.random.default_rng(0)


def planted(points: int) -> Factors:
    return np.stack([rng.integers(4, size=points), rng.integers(3, size=points)], 1)


def test_codes_that_are_the_factors_have_a_gap_of_one() -> None:
    factors = planted(4000)
    noise = rng.normal(size=(4000, 1))
    assert mutual_information_gap(np.hstack([factors, noise]), factors) == pytest.approx(1.0, abs=0.02)


def test_a_factor_told_twice_has_no_gap() -> None:
    factors = planted(1000)
    assert mutual_information_gap(np.hstack([factors, factors]).astype(float), factors) == pytest.approx(0.0)


def test_codes_that_know_nothing_have_no_gap() -> None:
    assert mutual_information_gap(rng.normal(size=(4000, 3)), planted(4000)) == pytest.approx(0.0, abs=0.02)


def test_half_of_a_factor_told_is_half_of_the_gap() -> None:
    """Four equal values, a code that tells the even from the odd: log 2 of log 4."""
    factor = np.tile(np.arange(4), 250)[:, None]
    assert mutual_information_gap((factor % 2).astype(float), factor, bins=2) == pytest.approx(0.5)


def test_a_factor_that_does_not_vary_is_left_out() -> None:
    factors = planted(500)
    constant = np.zeros((500, 1), dtype=np.int64)
    codes = factors.astype(float)
    assert mutual_information_gap(codes, np.hstack([factors, constant])) == mutual_information_gap(
        codes, factors
    )
    with pytest.raises(ValueError, match="no factor varies"):
        mutual_information_gap(codes, constant)


def test_dci_of_importances_by_hand() -> None:
    """Codes that matter for one factor, for both alike, and for none; of three codes two tell a factor."""
    importances = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]])
    assert disentanglement(importances) == pytest.approx((1 * 1 + 1 * 0) / 2)
    first = 1 - (-(2 / 3) * np.log(2 / 3) - (1 / 3) * np.log(1 / 3)) / np.log(3)
    assert completeness(importances) == pytest.approx(0.75 * first + 0.25 * 1)


@pytest.mark.parametrize("importances", [np.eye(3), np.eye(3)[:, [2, 0, 1]] * [[1], [2], [3]]])
def test_one_code_a_factor_is_perfect(importances: np.ndarray) -> None:
    assert disentanglement(importances) == pytest.approx(1.0)
    assert completeness(importances) == pytest.approx(1.0)


def test_codes_that_matter_alike_for_all_factors_are_the_worst() -> None:
    assert disentanglement(np.ones((4, 3))) == pytest.approx(0.0)
    assert completeness(np.ones((4, 3))) == pytest.approx(0.0)


def test_nothing_that_matters_is_no_disentanglement() -> None:
    assert disentanglement(np.zeros((2, 2))) == 0.0
    assert disentanglement(np.ones((3, 1))) == 1.0  # there is no second factor to mix in


def test_forests_find_codes_that_are_the_factors_and_the_same_ones_again() -> None:
    train, test = planted(600), planted(300)
    result = dci((train.astype(float), train), (test.astype(float), test), trees=10)
    assert result == pytest.approx((1.0, 1.0, 1.0), abs=0.05)
    assert dci((train.astype(float), train), (test.astype(float), test), trees=10) == result


def test_forests_of_noise_know_nothing() -> None:
    train, test = planted(600), planted(300)
    noise = rng.normal(size=(600, 2)), rng.normal(size=(300, 2))
    result = dci((noise[0], train), (noise[1], test), trees=10)
    assert result.disentanglement < 0.1
    assert result.informativeness == pytest.approx((1 / 4 + 1 / 3) / 2, abs=0.1)
