"""The race: the same chances for all, and trials that go on to the very same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import CHECKPOINT, HISTORY, WEIGHTS
from vae_likelihoods.files import read_csv, sha256
from vae_likelihoods.search import race as racing
from vae_likelihoods.search.race import Race, Trial, epochs_of, going_on, rungs
from vae_likelihoods.search.workers import Outcome, Workers
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.sweeps.stages import STAGES, TrainingStage


class Here(Workers):
    """Works in this process, and notes what it was given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: list[tuple[Any, ...]] = []

    def map(self, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Outcome]]:
        self.jobs += jobs
        for index, job in enumerate(jobs):
            try:
                yield index, Outcome(work(*job))
            except ArithmeticError as error:
                yield index, Outcome(error=str(error))


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 8, 9, 10, 27, 30])
@pytest.mark.parametrize("epochs", [1, 2, 5, 60, 100])
def test_rungs_ascend_to_the_horizon(trials: int, epochs: int) -> None:
    marks = rungs(trials, epochs)
    assert marks == sorted(set(marks))
    assert marks[-1] == epochs
    assert epochs_of(trials, marks) <= trials * epochs
    assert min(rungs(trials, epochs, least=4)) >= min(4, epochs)


@pytest.mark.parametrize("alive", range(1, 40))
def test_some_go_on_at_a_rung_and_never_more_than_there_are(alive: int) -> None:
    assert 1 <= going_on(alive) <= alive


def played(monkeypatch: pytest.MonkeyPatch, scores: dict[str, list[float]]) -> Race:
    """Return a race of trials that score what is said, whatever the rung; infinite ones fail."""
    trials = [
        Trial(name, {"at": place}, (name, place), default=place == 0)  # type: ignore[arg-type]
        for name, own in scores.items()
        for place in range(len(own))
    ]

    def advance(cell: Any, until: int) -> bool:
        if math.isinf(scores[cell[0]][cell[1]]):
            raise ArithmeticError("the loss is not finite")
        return True

    monkeypatch.setattr(racing, "advanced", advance)
    monkeypatch.setattr(racing, "score_until", lambda cell, epoch: scores[cell[0]][cell[1]])
    return Race(trials, rungs(len(next(iter(scores.values()))), 60))


def test_every_likelihood_gets_the_same_trials_and_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"good": [1.0, *(1 + place / 10 for place in range(1, 9))]}
    scores["bad"] = [9.0 - place / 10 for place in range(9)]  # its default is the worst of all
    race, workers, before = played(monkeypatch, scores), Here(), dict.fromkeys(rungs(9, 60), 0)
    told: list[tuple[int, int]] = []
    race.run(workers, lambda race, done, planned: told.append((done, planned)))
    at = {rung: [cell[0] for cell, until in workers.jobs if until == rung] for rung in before}
    for rung in before:
        assert at[rung].count("good") == at[rung].count("bad"), rung
    steps = dict(zip(before, [7, 13, 40], strict=True))
    assert sum(steps[until] for cell, until in workers.jobs if cell[0] == "bad") == epochs_of(9, race.rungs)
    assert told[-1] == (2 * epochs_of(9, race.rungs),) * 2
    assert race.leader is race.trials[0]
    assert [trial.likelihood for trial in race.finished].count("bad") == 2
    # The default comes to the end though it is the worst, and the best does too.
    ended = {trial.cell for trial in race.finished}
    assert {("bad", 0), ("bad", 8), ("good", 0), ("good", 1)} == ended


def test_likelihoods_take_turns_and_the_best_leads_however_far_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = {"good": [1.0, 2.0, 1.5, 3.0], "bad": [9.0, 8.0, 7.0, 6.0], "worse": [99.0, 98.0, 97.0, 96.0]}
    race, workers = played(monkeypatch, scores), Here()
    leaders: list[str] = []

    def tell(race: Race, done: int, planned: int) -> None:
        assert race.leader is not None
        leaders.append(race.leader.likelihood)

    race.run(workers, tell)
    assert set(leaders) == {"good"}  # also while others are at a later rung
    for rung in race.rungs:
        names = [cell[0] for cell, until in workers.jobs if until == rung]
        for done in range(len(names)):
            counts = [names[:done].count(name) for name in scores]
            assert max(counts) - min(counts) <= 1


def test_a_trial_that_fails_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    race = played(monkeypatch, {"one": [math.inf, 2.0, 1.0, 3.0], "none": [math.inf] * 4})
    race.run(Here())
    assert {trial.likelihood for trial in race.finished} == {"one"}
    assert race.finished[0].cell == ("one", 2)
    assert all(trial.error == "the loss is not finite" for trial in race.trials if trial.likelihood == "none")
    assert race.default("one").score == math.inf


def test_a_trial_goes_on_to_the_bits_of_a_training_that_never_stopped(
    small_cell: Callable[..., Cell], tmp_path: Path
) -> None:
    settings = ("training.epochs=4", "seed=77", "objective.warmup_epochs=1")
    straight, stopped = (small_cell(*settings, f"runtime.store={tmp_path / each}") for each in ("a", "b"))
    STAGES["train"].perform(straight, lambda record: None)
    stage = TrainingStage()
    for until in (1, 1, 3):  # asked twice for the same, it trains nothing
        assert not stage.advance(stopped, until, lambda record: None)
        assert (stopped.trained.folder / CHECKPOINT).is_file()
        assert not stopped.trained.finished
        assert len(read_csv(stopped.trained.folder / HISTORY)) == until
    assert stage.advance(stopped, 4, lambda record: None)
    assert stopped.trained.finished
    for name in (WEIGHTS, HISTORY):
        assert sha256(stopped.trained.folder / name) == sha256(straight.trained.folder / name)
    assert stage.advance(stopped, 1, lambda record: pytest.fail("it is trained already"))


def test_the_score_at_a_rung_is_the_best_epoch_until_then(
    small_cell: Callable[..., Cell], tmp_path: Path
) -> None:
    cell = small_cell(f"runtime.store={tmp_path}")
    cell.trained.folder.mkdir(parents=True)
    rows = "\n".join(f"{epoch},{score}" for epoch, score in [(1, 5.0), (2, 3.0), (3, 4.0), (4, 1.0)])
    (cell.trained.folder / HISTORY).write_text(f"epoch,val_bits_per_dim\n{rows}\n")
    assert [racing.score_until(cell, rung) for rung in (1, 2, 3, 4)] == [5.0, 3.0, 3.0, 1.0]


def test_what_fails_is_recorded_and_begun_anew(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")

    def fail(folder: Path) -> list[str]:
        raise ArithmeticError("the loss is not finite")

    with pytest.raises(ArithmeticError):
        entry.advance({}, fail)
    assert entry.failure is not None
    assert not entry.advance({}, lambda folder: None)
    assert entry.failure is None
    assert entry.advance({}, lambda folder: [(folder / "x").write_text("1"), ["x"]][1])  # type: ignore[arg-type]
    assert entry.done()
