"""The race: trials of every likelihood, of which the best go on, judged on validation images alone.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943), within each likelihood: all have the same
number of trials, and of epochs. A trial is a cell of the store with the whole horizon and its schedule; it
stops at a rung, and goes on from its checkpoint if it is among the best third there. The trial with the
default settings goes on to the end in any case: without it, nobody could say what tuning changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import HISTORY, TIMINGS
from vae_likelihoods.files import read_csv
from vae_likelihoods.search.workers import Outcome, Workers
from vae_likelihoods.sweeps.job import return_memory
from vae_likelihoods.sweeps.stages import TrainingStage

KEPT = 3  # one of so many goes on at a rung


@dataclass(eq=False)
class Trial:
    """One cell of the race.

    Attributes:
        likelihood: the name of its YAML; of a model that gives p(x) directly, the model's and its own.
        settings: what was chosen for it, by key.
        cell: its cell.
        default: whether all its settings are the defaults.
        fixed: what was not searched: the axes of the study that it reads.
        scores: its validation bits/dim at each rung that it reached, the best epoch until then.
        error: why it ended early; its score is infinite then.
    """

    likelihood: str
    settings: Mapping[str, Any]
    cell: Cell
    default: bool
    scores: list[float] = field(default_factory=list)
    error: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Its score at the last rung that it reached; infinite if it failed."""
        return self.scores[-1] if self.scores and self.error is None else math.inf

    @property
    def setting(self) -> tuple[str, int]:
        """Its likelihood and latent size."""
        return self.likelihood, self.cell.settings.latents

    @property
    def seconds(self) -> float:
        """How long its epochs took, on one worker."""
        path = self.cell.trained.folder / TIMINGS
        return sum(float(row["seconds"]) for row in read_csv(path)) if path.is_file() else 0.0

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        path = self.cell.trained.folder / HISTORY
        return len(read_csv(path)) if path.is_file() else 0


def rungs(trials: int, epochs: int, least: int = 1) -> list[int]:
    """Return the epochs after which trials are compared; the last is the end.

    Args:
        trials: of each likelihood.
        epochs: the horizon of every trial.
        least: epochs before which nothing is compared, because the learning rate still rises.

    Example:
        >>> rungs(9, 60), rungs(4, 60), rungs(1, 60), rungs(9, 60, least=10)
        ([7, 20, 60], [20, 60], [60], [20, 60])
    """
    halvings = next(n for n in range(20) if KEPT ** (n + 1) > trials)
    marks = {max(1, round(epochs / KEPT ** (halvings - each))) for each in range(halvings + 1)}
    return sorted({mark for mark in marks if mark >= least} | {epochs})


def going_on(alive: int) -> int:
    """Return how many of the trials of a likelihood go on at a rung: a third of them, and one more.

    Example:
        >>> going_on(9), going_on(4), going_on(1)
        (4, 2, 1)
    """
    return min(alive, max(1, alive // KEPT) + 1)


def epochs_of(trials: int, marks: Sequence[int]) -> int:
    """Return how many epochs a race with these rungs trains for each likelihood.

    Example:
        >>> epochs_of(9, [7, 20, 60]), epochs_of(4, [20, 60])
        (195, 160)
    """
    total, before, alive = 0, 0, trials
    for place, rung in enumerate(marks):
        alive = trials if place == 0 else going_on(alive)
        total += alive * (rung - before)
        before = rung
    return total


@dataclass
class Race:
    """The trials of all likelihoods.

    Args:
        trials: of every likelihood as many.
        rungs: epochs, ascending; the last is the horizon of every trial.
    """

    trials: Sequence[Trial]
    rungs: Sequence[int]

    def run(
        self, workers: Workers, tell: Callable[[Race, int, int], None] = lambda race, done, of: None
    ) -> None:
        """Run the race to its end.

        Args:
            workers: what trains the cells.
            tell: called when a trial has reached a rung, with the race, the epochs done and those planned.
        """
        alive, before, done = list(self.trials), 0, 0
        for place, rung in enumerate(self.rungs):
            planned = self._planned(done, len(alive), place, before)
            alive = self._in_turn(alive)
            jobs = [(trial.cell, rung) for trial in alive]
            for index, outcome in workers.map(advanced, jobs):
                self._note(alive[index], rung, outcome)
                done += rung - before
                tell(self, done, planned)
            before = rung
            if place < len(self.rungs) - 1:
                alive = self._promoted(alive)

    def _in_turn(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return trials likelihood by likelihood: wherever the race is stopped, each has had as many."""
        own = [[trial for trial in trials if trial.likelihood == name] for name in self.likelihoods]
        return [trial for turn in zip_longest(*own) for trial in turn if trial is not None]

    def _planned(self, done: int, alive: int, place: int, before: int) -> int:
        """Return how many epochs the race has in all, as far as that is known at a rung."""
        likelihoods = len(self.likelihoods)
        planned, each = done, alive
        for rung in self.rungs[place:]:
            planned += each * (rung - before)
            each, before = likelihoods * going_on(max(1, each // likelihoods)), rung
        return planned

    def _note(self, trial: Trial, rung: int, outcome: Outcome) -> None:
        trial.error = outcome.error
        if outcome.error is None:
            trial.scores.append(score_until(trial.cell, rung))

    def _promoted(self, alive: Sequence[Trial]) -> list[Trial]:
        """Return the trials that go on, of each likelihood as many: the best third, the default, one more.

        The one more stands in for the default where that is among the best third.
        """
        on: list[Trial] = []
        for likelihood in self.likelihoods:
            own = sorted((t for t in alive if t.likelihood == likelihood), key=lambda trial: trial.score)
            whole = [t for t in own if math.isfinite(t.score)]
            first = sorted(whole, key=lambda trial: not trial.default)[:1]
            others = [t for t in whole if t not in first]
            on += [*first, *others[: going_on(len(own)) - len(first)]]
        return on

    @property
    def likelihoods(self) -> list[str]:
        """The likelihoods, in their order."""
        return list(dict.fromkeys(trial.likelihood for trial in self.trials))

    @property
    def finished(self) -> list[Trial]:
        """The trials that were trained to the end, the best first."""
        there = [t for t in self.trials if len(t.scores) == len(self.rungs) and math.isfinite(t.score)]
        return sorted(there, key=lambda trial: trial.score)

    @property
    def leader(self) -> Trial | None:
        """The trial with the best score so far, however long it was trained."""
        there = [trial for trial in self.trials if math.isfinite(trial.score)]
        return min(there, key=lambda trial: trial.score, default=None)

    def default(self, likelihood: str) -> Trial:
        """The trial of a likelihood's default settings."""
        return next(t for t in self.trials if t.likelihood == likelihood and t.default)


def advanced(cell: Cell, until: int) -> bool:
    """Train a cell of the store up to an epoch; return whether it is trained to the end."""
    done = TrainingStage().advance(cell, until, lambda record: None)
    return_memory()
    return done


def score_until(cell: Cell, epoch: int) -> float:
    """Return the best validation bits/dim of a cell until an epoch, at beta = 1 whatever it trains with."""
    rows = read_csv(cell.trained.folder / HISTORY)
    return min(float(row["val_bits_per_dim"]) for row in rows if int(row["epoch"]) <= epoch)
