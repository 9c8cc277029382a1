"""A grid of cells: taken from the store, run, run again if lost."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from hydra.errors import CompactHydraException
from tqdm import tqdm

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.store.entry import FAILURE, BusyError
from vae_likelihoods.sweeps import scores
from vae_likelihoods.sweeps.stages import Stage

log = logging.getLogger(__name__)

State = Literal["done", "stored", "failed", "missing"]
ROUNDS = 3  # how often cells that were lost with their worker are started


def named(error: BaseException) -> str:
    """Return an error's class and message."""
    return f"{type(error).__name__}: {error}"


class SweepError(CompactHydraException):
    """Some cells of a sweep have no result; Hydra prints the message without a traceback."""


class JobError(CompactHydraException):
    """What a job of a sweep raised, as text: any worker can send it, and nothing but a job raises it."""


class Sweep:
    """What became of every cell of one grid.

    Args:
        stage: what is done for each cell.
        cells: the grid, checked.
        overrides: what the user wrote to get it.
    """

    def __init__(self, stage: Stage, cells: Sequence[Cell], overrides: Sequence[str] = ()) -> None:
        self.stage, self.cells, self.overrides = stage, list(cells), list(overrides)
        self.stored: set[str] = set()
        self.errors: dict[str, str] = {}  # what jobs raised; a full disk keeps no record of it
        self.interrupted = False
        self._held: set[str] = set()  # in the store from the start, and in another driver's hands right then
        self._laid_out: set[str] = set()  # by their jobs

    def take_stored(self) -> None:
        """Lay out every cell whose result is in the store, whole; forget damaged results and old failures."""
        for cell in self.cells:
            if self._take(cell, wait_seconds=0):
                self.stored.add(cell.name)
            elif self.stage.entry(cell).finished:
                self._held.add(cell.name)

    def _take(self, cell: Cell, wait_seconds: float) -> bool:
        """Lay out the cell's result if it is whole, else forget it, unless another process works on it."""
        entry = self.stage.entry(cell)
        if not entry.finished and not entry.failure:
            return False
        try:
            return self.stage.take(cell, wait_seconds)
        except BusyError:
            pass
        except OSError as error:
            self.errors[cell.name] = named(error)
        return False

    def state(self, cell: Cell) -> State:
        """Say where `cell` stands now."""
        entry = self.stage.entry(cell)
        if cell.name in self.stored:
            return "stored"
        if cell.name in self.errors:
            return "failed"
        if entry.finished:
            return "done"
        return "failed" if entry.failure else "missing"

    def of(self, *states: State) -> list[Cell]:
        """Return the cells that are in one of `states`."""
        return [cell for cell in self.cells if self.state(cell) in states]

    def note_error(self, cell: Cell, error: BaseException | None) -> None:
        """Take down how a job ended: with an error of its own, or with none.

        Any other error says that the job was lost: killed, cancelled, on a machine that died. Its cell stays
        missing and is started again.
        """
        if error is None:
            self._laid_out.add(cell.name)
        elif isinstance(error, JobError):
            self.errors[cell.name] = str(error)
            entry = self.stage.entry(cell)
            if not entry.finished and not entry.failure:  # it was raised before the work
                with suppress(OSError):
                    entry.fail(str(error))

    def run(self, launch: Callable[[list[int]], None], one_by_one: bool = False) -> None:
        """Run what is not there, print what became of every cell.

        Args:
            launch: gets the indices of cells to run, and may lose some.
            one_by_one: whether cells that were lost again and again get their last chance alone: where a
                worker that dies takes the others along, one cell that always dies would cost the others too.

        Raises:
            SweepError: if cells failed or stayed missing, after all others are done.
        """
        try:
            for attempt in range(1, ROUNDS + 1):
                self._lay_out_rest()
                indices = self._waiting(begun_last=attempt > 1)
                alone = one_by_one and attempt == ROUNDS
                for group in [[index] for index in indices] if alone else [indices] if indices else []:
                    launch(group)
            self._lay_out_rest()
        except KeyboardInterrupt:
            self.interrupted = True
            raise
        finally:
            _print([self.table()])
        _print(scores.summary(self.stage, self.cells))
        without = len(self.of("failed", "missing"))
        if without:
            raise SweepError(f"{without} of {len(self.cells)} cells have no result")
        _print([scores.next_command(self.stage, self.cells[0], self.overrides)])

    def _waiting(self, begun_last: bool) -> list[int]:
        """Return the indices of the cells to run; last those that another process computes right now."""
        names = {cell.name for cell in self.of("missing")}
        indices = {cell.name: index for index, cell in enumerate(self.cells) if cell.name in names}
        entries = {index: self.stage.entry(self.cells[index]) for index in indices.values()}
        busy = {index for index, entry in entries.items() if entry.busy}
        if busy:
            log.warning("waiting for %d of %d cells, which another process computes", len(busy), len(names))
        begun = {index for index, entry in entries.items() if begun_last and entry.folder.exists()}
        return sorted(entries, key=lambda index: (index in busy, index in begun))

    def _lay_out_rest(self) -> None:
        """Lay out what jobs that were lost had finished, or another driver for a study of its own."""
        for cell in self.of("done"):
            if cell.name not in self._laid_out and self._take(cell, wait_seconds=-1):
                (self.stored if cell.name in self._held else self._laid_out).add(cell.name)

    def table(self) -> str:
        """Return counts by state, and a line for every cell without a result."""
        counts = [f"{len(self.of(state))} {word}" for state, word in WORDS.items() if self.of(state)]
        lacking = [*self.of("failed"), *self.of("missing")]
        width = max((len(cell.name) for cell in lacking), default=0) + 1
        lines = [f"{self.state(cell):<7}  {cell.name + ':':<{width}} {self._why(cell)}" for cell in lacking]
        return "\n  ".join([f"{self.stage.name} {self.cells[0].study}: {', '.join(counts)}", *lines])

    def _why(self, cell: Cell) -> str:
        """Say why the cell has no result, and where the log is."""
        entry = self.stage.entry(cell)
        reason = self.errors.get(cell.name) or entry.failure
        if reason is None:
            return "interrupted" if self.interrupted else "its process was lost"
        where = f" (log: {near(entry.folder / FAILURE, cell)})" if entry.failure else ""
        return reason.partition("\n")[0] + where


WORDS: dict[State, str] = {
    "done": "done",
    "stored": "taken from the store",
    "failed": "failed",
    "missing": "missing",
}


def _print(lines: Iterable[str]) -> None:
    """Print lines above a progress bar, if there is one."""
    for line in lines:
        tqdm.write(line)
    sys.stdout.flush()


def near(path: Path, cell: Cell) -> Path:
    """Return a path from the folder of results, if it lies there."""
    return path.relative_to(cell.root) if path.is_relative_to(cell.root) else path
