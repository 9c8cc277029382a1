"""What a race freezes beside the best of each likelihood: the ties of its leader, and no failure hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.search.choosing import _tied
from vae_likelihoods.search.race import Trial
from vae_likelihoods.search.workers import Outcome, Workers

DRAWS = np.random.default_rng(0).normal(size=(4, 200))


class Scored(Workers):
    """Gives each trial the scores that are said for it."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__(1)
        self.outcomes = outcomes

    def map(self, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Outcome]]:
        yield from reversed(list(enumerate(self.outcomes)))


def trial(name: str) -> Trial:
    cell: Any = SimpleNamespace(name=name)
    return Trial(name, {}, cell, default=False)


LEADER, NEAR, FAR, SAME = map(trial, ("leader", "near", "far", "same"))


def test_a_tie_is_what_a_paired_difference_cannot_tell() -> None:
    hard = 100 * DRAWS[0]  # what is hard for all hides no difference
    scores = [hard, hard + DRAWS[1], hard + DRAWS[2] + 1, hard]
    found = _tied(LEADER, [NEAR, FAR, SAME], Scored([Outcome(each) for each in scores]))
    assert found == [NEAR, SAME]


def test_the_same_distance_in_every_image_is_no_tie() -> None:
    assert _tied(LEADER, [FAR], Scored([Outcome(DRAWS[0]), Outcome(DRAWS[0] + 0.5)])) == []


@pytest.mark.parametrize("place", [0, 1])
def test_a_trial_that_cannot_be_scored_is_named(place: int) -> None:
    outcomes = [Outcome(DRAWS[0]), Outcome(DRAWS[1])]
    outcomes[place] = Outcome(error="OSError: gone")
    with pytest.raises(SettingError, match=f"race={['leader', 'near'][place]}: cannot be scored .* OSError"):
        _tied(LEADER, [NEAR], Scored(outcomes))
