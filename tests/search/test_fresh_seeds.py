"""Fresh seeds by the time alone: what is trained, kept and gone on with."""

from __future__ import annotations

from typing import Any

import pytest

from vae_likelihoods.search.fresh_seeds import train_seeds
from vae_likelihoods.search.planning import MOST_SEEDS, REPORT
from vae_likelihoods.search.request import Clock


class Played(Clock):
    """A clock that work moves."""

    def __init__(self, minutes: float, used: float) -> None:
        super().__init__(minutes, used)
        self.now = used

    @property
    def used(self) -> float:
        return self.now


def trained(
    state: dict[str, Any], minutes: float, planned: int, seconds: float, used: float = 0.0
) -> tuple[list[int], Played]:
    """Return the numbers of seeds that were asked for, and the clock after it."""
    asked: list[int] = []
    clock = Played(minutes, used)
    kept: list[int] = []

    def train(done: int, seeds: int) -> None:
        assert kept[-1] == seeds  # written before the work begins: a kill loses nothing
        asked.append(seeds)
        clock.now += seconds * (seeds - done)

    train_seeds(lambda: planned, state, clock, train, lambda: kept.append(state["seeds"]))
    return asked, clock


@pytest.mark.parametrize("seconds", [10.0, 60.0, 150.0, 299.0])
def test_seeds_fill_the_time_and_never_more_than_that(seconds: float) -> None:
    asked, clock = trained({}, 10, 1, seconds)
    assert asked[0] == 1
    assert clock.left >= REPORT
    assert asked[-1] == MOST_SEEDS or clock.left - REPORT < 2 * seconds


def test_nothing_is_added_where_the_first_ones_took_all_the_time() -> None:
    assert trained({}, 10, 2, 300.0)[0] == [2]


def test_the_same_command_again_trains_the_same_seeds() -> None:
    state: dict[str, Any] = {}
    asked, clock = trained(state, 10, 1, 150.0)
    again, _ = trained(state, 10, 4, 0.0, used=clock.used)  # all lie in the store: no time passes
    assert again == [asked[-1]]


def test_more_minutes_give_more_seeds() -> None:
    state: dict[str, Any] = {}
    asked, clock = trained(state, 10, 1, 200.0)
    more, _ = trained(state, 30, 1, 1.0, used=clock.used)
    assert more[0] == asked[-1]
    assert more[-1] == MOST_SEEDS


def test_seeds_whose_training_was_interrupted_measure_nothing() -> None:
    state: dict[str, Any] = {"seeds": 2}  # another session trained a part of them
    assert trained(state, 60, 1, 1.0)[0] == [2]
    assert "seconds_a_seed" not in state
