"""The spread of seeds: whose it is, how well it is known, and seeds that do not look normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vae_likelihoods.report.seeds import Floats, SeedSpread, seed_spread, uneven


def spread(scores: Sequence[Sequence[float]], families: str) -> SeedSpread:
    """The spread of settings of which the score of each seed is known."""
    squares = np.array([np.var(values) * len(values) for values in scores])
    return seed_spread(squares, [len(values) for values in scores], list(families))


def test_settings_of_one_family_are_pooled_and_families_are_not() -> None:
    found = spread([[1, 3, 5], [0, 1], [0, 2]], "abb")
    assert found.variance == pytest.approx([4 / 3, (0.5 + 2) / 2 / 2, (0.5 + 2) / 2 / 2])
    assert found.degrees.tolist() == [2, 2, 2]
    assert found.family[0] != found.family[1] == found.family[2]


def test_a_noisy_family_keeps_its_own_degrees_of_freedom() -> None:
    """Five quiet likelihoods of two seeds lend it nothing."""
    found = spread([*([100 + place, 101 + place] for place in range(5)), [70, 130]], "abcdef")
    assert found.degrees.tolist() == [1] * 6
    assert found.variance[5] == pytest.approx(1800 / 2)
    assert len({*found.family}) == 6


def test_a_family_of_one_seed_takes_the_largest_spread_of_the_others() -> None:
    found = spread([[9], [0, 1], [0, 30, 60]], "abc")
    assert found.variance == pytest.approx([900, 0.5 / 2, 900 / 3])
    assert found.degrees.tolist() == [2, 1, 2]
    assert found.family[0] == found.family[2] != found.family[1]


def test_without_a_second_seed_nothing_is_added_for_seeds() -> None:
    found = spread([[9], [8]], "ab")
    assert found.variance.tolist() == [0, 0]
    assert np.isinf(found.degrees).all()


def test_many_studies_at_once_are_as_one_after_the_other() -> None:
    squares = np.random.default_rng(0).chisquare(1, (50, 4))
    found = seed_spread(squares, [2, 2, 2, 1], list("aabc"))
    for study, (variance, degrees) in enumerate(zip(found.variance, found.degrees, strict=True)):
        alone = seed_spread(squares[study], [2, 2, 2, 1], list("aabc"))
        assert alone.variance.tolist() == variance.tolist()
        assert alone.degrees.tolist() == degrees.tolist()


def test_a_seed_that_collapsed_is_seen_where_the_family_has_others() -> None:
    scores = [np.array(values)[:, None] for values in ([100, 101.0], [100, 160.0], [99.0, 100], [50.0, 51])]
    assert uneven(scores, list("aaab")) == [1]


@pytest.mark.parametrize("scores", [[[0.0, 100]], [[0.0, 100], [5.0]], [[1.0, 1], [1.0, 1]]])
def test_with_one_degree_of_freedom_or_none_that_differs_nothing_is_seen(scores: list[list[float]]) -> None:
    assert uneven([np.array(values)[:, None] for values in scores], ["a"] * len(scores)) == []


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_normal_seeds_raise_an_alarm_in_about_5_percent_of_studies_at_most(seeds: int) -> None:
    draws, studies = np.random.default_rng(seeds), 600

    def normal() -> list[Floats]:
        return [draws.normal(0, 1, (seeds, 1)) for _ in range(12)]

    alarms = [bool(uneven(normal(), list("aaabbbcccddd"))) for _ in range(studies)]
    assert np.mean(alarms) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
