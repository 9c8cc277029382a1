"""What fits into some minutes: more time never buys less, and what is planned fits."""

from __future__ import annotations

import math

import pytest

from vae_likelihoods.search import planning
from vae_likelihoods.search.planning import Counts, Plan, Speed, plan
from vae_likelihoods.search.race import epochs_of, rungs

FAST = [Speed(0.01, 1e-5)] * 4
COUNTS = Counts(2048, 256, 256)


def seconds_of(found: Plan, speeds: list[Speed], counts: Counts) -> float:
    """Return what a plan costs on one worker: race, fresh seeds, scores."""
    steps = math.ceil(counts.train / found.batch)
    share = epochs_of(found.trials, rungs(found.trials, found.epochs)) + planning.SEEDS * found.epochs
    training = sum(speed.step for speed in speeds) * steps * share
    scoring = sum(speed.draw for speed in speeds) * found.draws * counts.test * planning.SEEDS
    return training + scoring


@pytest.mark.parametrize("minutes", [5, 10, 30, 120])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_plan_fits_into_its_time(minutes: float, workers: int) -> None:
    found, least = plan(["network=mlp"], FAST, COUNTS, 60 * minutes, workers, last=True)
    if found is None:
        assert least > minutes
    else:
        assert seconds_of(found, FAST, COUNTS) <= 60 * minutes * workers
        assert found.epochs * COUNTS.steps <= planning.MOST


def test_more_time_buys_no_less() -> None:
    plans = [
        plan(["network=mlp"], FAST, COUNTS, 60 * minutes, 2, last=True)[0] for minutes in range(5, 200, 5)
    ]
    spent = [seconds_of(each, FAST, COUNTS) for each in plans if each]
    trials = [each.trials for each in plans if each]
    assert trials == sorted(trials)
    for trial in set(trials):
        of_trial = [each.epochs for each in plans if each and each.trials == trial]
        assert of_trial == sorted(of_trial)
    assert max(spent) == spent[-1] or spent[-1] > 0.9 * max(spent)


@pytest.mark.parametrize("train", [*range(100, 40_000, 1_717), 10_432, 2_000_000])
@pytest.mark.parametrize("slowest", [1.0, 5.0])
def test_too_little_time_is_refused_with_the_minutes_that_are_needed(train: int, slowest: float) -> None:
    slow, counts = [Speed(1.0, 1e-3)] * 4 + [Speed(slowest, 1e-3)], Counts(train, train // 10, train // 10)
    found, least = plan(["network=mlp"], slow, counts, 300, 2, last=True)
    assert found is None
    again, _ = plan(["network=mlp"], slow, counts, 60 * math.ceil(least), 2, last=True)
    assert again is not None
    assert again.epochs >= planning.FEWEST_EPOCHS


def test_an_able_network_must_get_the_steps_that_are_wanted() -> None:
    middling = [Speed(0.05, 1e-5)] * 4
    assert plan(["network=auto"], middling, COUNTS, 600, 2)[0] is None
    assert plan(["network=auto"], middling, COUNTS, 600, 2, last=True)[0] is not None


@pytest.mark.parametrize("train", [3, 100, 2_048, 60_000])
def test_batches_suit_the_number_of_images(train: int) -> None:
    counts = Counts(train, 10, 10)
    assert 1 <= counts.batch <= max(1, train // 4) or counts.batch == 1
    assert counts.steps == math.ceil(train / counts.batch)
