"""Comparisons of settings against tests of others (scipy), and in simulated studies with a known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from vae_likelihoods.report.resampling import Comparisons, Interval, compare
from vae_likelihoods.report.seeds import Floats

BY_SEED = {"a": [101.0, 107.0, 103.0, 104.5], "b": [98.0, 99.5, 97.0, 101.0, 99.0]}


def columns(names: str = "ab") -> list[Floats]:
    """Scores of one image under several seeds: all that differs is the seed."""
    return [np.array(BY_SEED[name])[:, None] for name in names]


def study(
    draws: np.random.Generator,
    means: Sequence[float],
    seeds: int = 2,
    images: int = 60,
    spread: Sequence[float] = (0.0,),
    own: float = 5.0,
) -> list[Floats]:
    """Simulate scores [S, N]: of the image, of the setting on the image, of the seed, and of all three."""
    difficulty, spreads = draws.normal(0, 30, images), np.resize(spread, len(means))
    return [
        mean
        + difficulty
        + draws.normal(0, own, images)
        + draws.normal(0, of_seed, (seeds, 1))
        + draws.normal(0, 1, (seeds, images))
        for mean, of_seed in zip(means, spreads, strict=True)
    ]


# Against others


def test_many_comparisons_are_corrected_a_little_more_than_by_dunnett() -> None:
    """Six independent groups, whose variances are nearly equal: his critical value is known."""
    draws = np.random.default_rng(1)
    groups = [draws.normal(0, 1, 400) for _ in range(6)]
    comparisons = compare([group[None] for group in groups], list("abcdef"))
    expected = stats.dunnett(*groups[1:], control=groups[0], rng=0).confidence_interval(0.95)
    pooled = np.sqrt(2 * np.mean([group.var(ddof=1) for group in groups]) / 400)
    for other, width in enumerate(expected.high - expected.low, start=1):
        low, high = found(comparisons, 0, other)
        own = (high - low) / comparisons.paired.error[0, other]
        assert width / pooled < own < 1.06 * width / pooled


def test_images_are_drawn_again_as_by_the_paired_bootstrap() -> None:
    one, other = study(np.random.default_rng(2), [100, 101], seeds=1, images=200)
    replicates = compare([one, other], ["a", "b"]).replicates
    comparisons = np.quantile(replicates[:, 0] - replicates[:, 1], [0.025, 0.975])
    differences = (one - other)[0]
    reference = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=5_000, rng=0)
    width = np.ptp(reference.confidence_interval)
    assert comparisons == pytest.approx(np.array(reference.confidence_interval), abs=0.05 * width)


def test_the_replicates_of_seeds_are_students_t() -> None:
    """One image, so seeds alone: s / sqrt(S) times t with 3 degrees of freedom, by Kolmogorov and Smirnov."""
    comparisons = compare(columns("a"), ["a"], replicates=5_000)
    scale = np.std(BY_SEED["a"], ddof=1) / np.sqrt(4)
    drawn = (comparisons.replicates[:, 0] - comparisons.means[0]) / scale
    assert stats.kstest(drawn, stats.t(3).cdf).pvalue > 0.01


# Against simulated studies: many more in benchmarks/coverage.py


@pytest.mark.parametrize(
    ("families", "seeds", "spread", "own"),
    [
        ("aabb", 2, [1.0, 1.0, 4.0, 4.0], 5.0), ("aabb", 3, [2.0], 1.0), ("aabb", 2, [0.0], 5.0),
        ("abcd", 1, [0.0], 5.0),
    ],
)  # fmt: skip
def test_an_interval_of_95_percent_holds_the_truth_in_95_percent(
    families: str, seeds: int, spread: list[float], own: float
) -> None:
    """Of one likelihood and of two, where seeds matter and where not; where they are few, a little more."""
    draws, truth, studies = np.random.default_rng(3), [100.0, 102.0, 104.0, 110.0], 600
    held = []
    for _ in range(studies):
        comparisons = compare(study(draws, truth, seeds, 40, spread, own), list(families), 2)
        for one, other in ((3, 2), (3, 0)):
            low, high = found(comparisons, one, other, corrected=False)
            held.append(low < truth[one] - truth[other] < high)
    assert 0.93 < np.mean(held) < 0.985


@pytest.mark.parametrize("seeds", [2, 3])
def test_what_is_truly_best_is_seldom_called_worse(seeds: int) -> None:
    """All of six are alike, so each is truly best, and one looks best by luck: the hardest case."""
    draws, studies = np.random.default_rng(4), 300
    families = ["a", "a", "a", "b", "b", "b"]
    wrong = [
        excluded(compare(study(draws, [100.0] * 6, seeds, 40, [1, 1, 1, 4, 4, 4]), families, 2), 0)
        for _ in range(studies)
    ]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def test_a_planted_difference_is_found() -> None:
    draws = np.random.default_rng(5)
    families = ["a", "a", "a", "b", "b", "b"]
    comparisons = [
        excluded(compare(study(draws, [100, 101, 101, 130, 131, 132], 2, 40, [2.0]), families, 2), 3)
        for _ in range(100)
    ]
    assert np.mean(comparisons) > 0.9


def excluded(comparisons: Comparisons, setting: int) -> bool:
    """Whether a setting is called worse than the one that looks best."""
    best = int(comparisons.means.argmin())
    return setting != best and found(comparisons, setting, best).low > 0


def found(comparisons: Comparisons, left: int, right: int, corrected: bool = True) -> Interval:
    """The interval of a difference for which there are enough images."""
    interval = comparisons.interval(left, right, corrected)
    assert interval is not None
    return interval


def test_a_tie_has_about_even_shares_and_a_winner_has_all() -> None:
    draws = np.random.default_rng(6)
    same = compare(study(draws, [100, 100], 1, 400, own=1e-3), ["a", "b"]).best_share()
    assert same.sum() == 1
    far = compare(study(draws, [100, 200], 2, 40, [1.0]), ["a", "a"]).best_share()
    assert far[0] > 0.99


# Seeds


def test_one_lucky_seed_does_not_win() -> None:
    """The mean of `a` is better by one seed of two; nobody knows what a third would give."""
    noise = np.random.default_rng(7).normal(0, 1, (2, 100))
    lucky, steady = np.array([[80.0], [118.0]]) + noise, np.array([[101.0], [103.0]]) + noise
    comparisons = compare([lucky, steady], ["a", "b"])
    assert comparisons.means.argmin() == 0
    assert found(comparisons, 1, 0).low < 0
    assert (comparisons.p_value(1, 0) or 0) > 0.3
    alone = compare([lucky[:1], steady[:1]], ["a", "b"])  # the lucky seed by itself: these models do differ
    assert found(alone, 1, 0).low > 0


def test_a_single_seed_does_not_win_by_luck_over_those_that_were_tried_twice() -> None:
    draws = np.random.default_rng(8)
    (single,) = study(draws, [95.0], seeds=1)
    others = study(draws, [100.0, 300.0], 2, spread=[0.5, 30.0])
    assert not excluded(compare([single, *others], ["a", "b", "c"]), 1)


# Too few images


@pytest.mark.parametrize("images", [1, 2, 19])
def test_fewer_than_20_images_give_no_interval_and_no_claim(images: int) -> None:
    comparisons = compare(study(np.random.default_rng(9), [100, 200, 300], 2, images), list("aab"))
    assert comparisons.interval(1, 0) is comparisons.interval(1, 0, corrected=False) is None
    assert comparisons.p_value(1, 0) is None
    assert np.isnan(comparisons.best_share()).all()
    assert np.isnan(comparisons.own_errors).all()
    assert comparisons.means[1] - comparisons.means[0] == pytest.approx(100, abs=30)


def test_a_difference_that_one_image_dominates_has_no_interval() -> None:
    """The other differences have theirs, and what is left of the shares says nothing of that setting."""
    best, other, odd = study(np.random.default_rng(10), [100, 110, 120], 1, 200)
    odd[0, 7] += 4_000
    comparisons = compare([best, other, odd], list("abc"))
    assert comparisons.interval(2, 0) is comparisons.p_value(2, 0) is None
    assert found(comparisons, 1, 0).low > 0
    assert np.isnan(comparisons.own_errors).tolist() == [False, False, True]
    assert np.isnan(comparisons.best_share()).tolist() == [False, False, True]


def test_the_best_has_no_share_if_one_image_could_make_another_the_best() -> None:
    best, odd = study(np.random.default_rng(11), [100, 101], 1, 200)
    odd[0, 7] += 4_000
    odd[0] -= odd[0].mean() - best[0].mean() - 1
    assert np.isnan(compare([best, odd], list("ab")).best_share()).all()


def test_numbers_of_seeds_alone_need_no_images() -> None:
    """A number of each cell, such as the distance of its samples: the t-test of Welch, on the safe side."""
    low, high = found(compare(columns(), ["a", "b"], by_image=False), 0, 1, corrected=False)
    expected = stats.ttest_ind(BY_SEED["a"], BY_SEED["b"], equal_var=False).confidence_interval(0.95)
    assert low <= expected.low < expected.high <= high
    assert high - low < 1.2 * (expected.high - expected.low)


@pytest.mark.parametrize("settings", [2, 6])
def test_equal_settings_of_one_seed_and_few_images_are_rarely_told_apart(settings: int) -> None:
    draws, studies, wrong = np.random.default_rng(12), 400, 0
    for _ in range(studies):
        compared = compare(study(draws, [100] * settings, 1, 20, own=1), list("abcdef"[:settings]), 2)
        intervals = [compared.interval(0, other) for other in range(1, settings)]
        wrong += any(each is not None and (each.low > 0 or each.high < 0) for each in intervals)
    assert wrong / studies < 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


# What must not matter


def test_the_same_study_gives_the_same_bits() -> None:
    scores = study(np.random.default_rng(10), [100.0, 101.0, 103.0], 2, spread=[2.0])
    one, again = (compare(scores, ["a", "a", "b"], 500) for _ in range(2))
    assert np.array_equal(one.replicates, again.replicates)
    assert one.interval(2, 0) == again.interval(2, 0)


def test_p_values_and_intervals_say_the_same() -> None:
    draws = np.random.default_rng(11)
    comparisons = compare(study(draws, [100, 100.5, 101, 103, 108], 2, 60, [1.0]), ["a", "a", "b", "b", "b"])
    for one in range(1, 5):
        low, high = found(comparisons, one, 0)
        apart = low > 0 or high < 0
        assert apart == ((comparisons.p_value(one, 0) or 0) < 0.05)
        assert found(comparisons, 0, one) == pytest.approx((-high, -low), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_settings_that_differ_by_a_constant_or_not_at_all(shift: float) -> None:
    """Then no image is surprising, and neither is the difference."""
    (one,) = study(np.random.default_rng(12), [100.0], seeds=1)
    comparisons = compare([one, one + shift], ["a", "b"])
    low, high = found(comparisons, 1, 0)
    assert (low, high) == pytest.approx((shift, shift), abs=1e-5)
    assert (low > 0) == (shift > 0)
