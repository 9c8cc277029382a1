"""Intervals of paired differences against scipy's tests, and what they do where images are odd."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vae_likelihoods.report.paired import Differences, ImagePart, differences, of_images
from vae_likelihoods.report.seeds import Floats, SeedSpread

NO_SEEDS = SeedSpread(np.zeros(()), np.full((), np.inf), np.zeros((), int))
NO_IMAGES = ImagePart(np.zeros(()), np.zeros(()), np.ones(()), np.ones((), bool))


def seeds(values: Floats, family: int = 0) -> SeedSpread:
    """The spread of a setting of its own."""
    degrees = float(len(values) - 1)
    return SeedSpread(np.array(values.var(ddof=1) / len(values)), np.array(degrees), np.array(family))


def test_of_many_even_images_the_interval_is_that_of_the_paired_t_test() -> None:
    values = stats.norm.ppf((np.arange(4000) + 0.5) / 4000) + 0.03
    found = differences(values.mean(), of_images(values), NO_SEEDS, NO_SEEDS)
    expected = stats.ttest_1samp(values, 0)
    assert found.interval(0.05) == pytest.approx([*expected.confidence_interval(0.95)], abs=4e-5)
    assert found.p_values() == pytest.approx(expected.pvalue, rel=0.03)


def test_of_two_families_of_as_many_seeds_it_is_that_of_the_t_test_of_welch_or_wider() -> None:
    one, other = np.array([101.0, 107, 103, 104.5]), np.array([98.0, 99.5, 97, 101])
    found = differences(np.array(one.mean() - other.mean()), NO_IMAGES, seeds(one), seeds(other, 1))
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    low, high = found.interval(0.05)
    assert low < expected.low < expected.high < high
    assert high - low < 1.2 * (expected.high - expected.low)


def test_of_one_family_it_is_that_of_the_t_test_of_student() -> None:
    one, other = np.array([101.0, 107, 103, 104.5]), np.array([98.0, 99.5, 97, 101, 99])
    squares = sum(((each - each.mean()) ** 2).sum() for each in (one, other)) / 7
    shared = [SeedSpread(np.array(squares / n), np.array(7.0), np.array(0)) for n in (4, 5)]
    found = differences(np.array(one.mean() - other.mean()), NO_IMAGES, *shared)
    expected = stats.ttest_ind(one, other)
    assert found.interval(0.05) == pytest.approx([*expected.confidence_interval(0.95)], rel=1e-12)
    assert found.p_values() == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_images_that_carry_are_counted() -> None:
    even = of_images(np.tile([-1.0, 1.0], 30))
    assert (float(even.carrying), bool(even.known)) == (60, True)
    assert even.variance == pytest.approx(1 / 59)
    one = of_images(np.eye(60)[0])
    assert one.carrying == pytest.approx(1, abs=0.1)
    assert not one.known
    assert not of_images(np.tile([-1.0, 1.0], 9)).known  # 18 images
    assert of_images(np.zeros((3, 40))).carrying.tolist() == [40] * 3


def test_intervals_reach_farther_to_the_side_of_the_odd_images() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, (40, 100))
    found = differences(values.mean(1), of_images(values), NO_SEEDS, NO_SEEDS)
    low, high = found.interval(0.05)
    assert (high - found.mean > 1.1 * (found.mean - low)).all()
    mirrored = differences(-values.mean(1), of_images(-values), NO_SEEDS, NO_SEEDS)
    assert np.allclose(mirrored.interval(0.05), (-high, -low), rtol=1e-12)


def test_p_values_and_intervals_say_the_same_at_every_level() -> None:
    draws = np.random.default_rng(1)
    parts = [draws.normal(0, 2, 200), np.ones(200), draws.uniform(1, 30, 200), draws.uniform(-0.7, 0.7, 200)]
    found = Differences(*parts, np.ones(200, bool))
    for level in (0.3, 0.05, 0.003):
        low, high = found.interval(level)
        assert (((low > 0) | (high < 0)) == (found.p_values() < level)).all()


def test_a_noisy_setting_has_few_degrees_even_if_its_variance_looks_small() -> None:
    """Two seeds that happen to agree do not lend it the certainty of 500 images."""
    images = of_images(np.random.default_rng(2).normal(0, 20, 500))
    lucky = SeedSpread(images.variance / 4, np.ones(()), np.ones((), int))
    assert differences(np.zeros(()), images, NO_SEEDS, lucky).degrees < 4
