"""A grid of cells: each is taken from the store or computed, and started again if its process was lost."""

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
ROUNDS = 3  # how often a cell is started whose process is lost


def named(error: BaseException) -> str:
    """Return an error's class and message."""
    return f"{type(error).__name__}: {error}"


class SweepError(CompactHydraException):
    """Some cells of a sweep have no result; Hydra prints the message without a traceback."""


class JobError(CompactHydraException):
    """An error of a job as text: every worker can send it, and nothing but a job raises it."""


class Sweep:
    """The cells of one grid and the state of each.

    Args:
        stage: what is done for each cell.
        cells: the grid, checked.
        overrides: what the user wrote after -m.
    """

    def __init__(self, stage: Stage, cells: Sequence[Cell], overrides: Sequence[str] = ()) -> None:
        self.stage, self.cells, self.overrides = stage, list(cells), list(overrides)
        self.stored: set[str] = set()
        self.errors: dict[str, str] = {}  # errors of jobs, which a full disk cannot record
        self.interrupted = False
        self._held: set[str] = set()  # in the store at the start, but locked by another driver at that moment
        self._laid_out: set[str] = set()  # by their jobs

    def take_stored(self) -> None:
        """Lay out every cell that the store has complete; forget damaged results and old failures.

        Raises:
            ForeignError: if another user's rights stand in the way of a cell.
        """
        for cell in self.cells:
            self.stage.entry(cell).check_access()
        for cell in self.cells:
            if self._take(cell, wait_seconds=0):
                self.stored.add(cell.name)
            elif self.stage.entry(cell).finished:
                self._held.add(cell.name)

    def _take(self, cell: Cell, wait_seconds: float) -> bool:
        """Lay out the cell's result if it is complete; else forget it, unless another process works on it."""
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
        """Return the state of `cell` now."""
        entry = self.stage.entry(cell)
        if cell.name in self.stored:
            return "stored"
        if cell.name in self.errors:
            return "failed"
        if entry.finished:
            return "done"
        return "failed" if entry.failure else "missing"

    def cells_in(self, *states: State) -> list[Cell]:
        """Return the cells that have one of these states."""
        return [cell for cell in self.cells if self.state(cell) in states]

    def note_error(self, cell: Cell, error: BaseException | None) -> None:
        """Record how a job ended: with an error of its own, or without one.

        Any other error means that the job was lost: it was killed or cancelled, or its machine died. Its
        cell stays missing and is started again.
        """
        if error is None:
            self._laid_out.add(cell.name)
        elif isinstance(error, JobError):
            self.errors[cell.name] = str(error)
            entry = self.stage.entry(cell)
            if not entry.finished and not entry.failure:  # raised before the work began
                with suppress(OSError):
                    entry.fail(str(error))

    def run(self, launch: Callable[[list[int]], None], one_by_one: bool = False) -> None:
        """Run the cells that are missing, then print how the sweep ended.

        Args:
            launch: runs the cells with these indices, and may lose some.
            one_by_one: whether the last round runs its cells one by one. Where one dying worker ends all
                others, a cell that always dies would otherwise cost these too.

        Raises:
            SweepError: if cells failed or are still missing, after all others are done.
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
        count = len(self.cells_in("failed", "missing"))
        if count:
            raise SweepError(f"{count} of {len(self.cells)} cells have no result")
        _print([scores.next_command(self.stage, self.cells[0], ["-m", *self.overrides])])

    def _waiting(self, begun_last: bool) -> list[int]:
        """Return the indices of the cells to run; last those that another process computes at the moment."""
        names = {cell.name for cell in self.cells_in("missing")}
        indices = {cell.name: index for index, cell in enumerate(self.cells) if cell.name in names}
        entries = {index: self.stage.entry(self.cells[index]) for index in indices.values()}
        busy = {index for index, entry in entries.items() if entry.busy}
        if busy:
            log.warning("waiting for %d of %d cells, which another process computes", len(busy), len(names))
        begun = {index for index, entry in entries.items() if begun_last and entry.folder.exists()}
        return sorted(entries, key=lambda index: (index in busy, index in begun))

    def _lay_out_rest(self) -> None:
        """Lay out what another driver finished, or a job of this sweep that was then lost."""
        for cell in self.cells_in("done"):
            if cell.name not in self._laid_out and self._take(cell, wait_seconds=-1):
                (self.stored if cell.name in self._held else self._laid_out).add(cell.name)

    def table(self) -> str:
        """Return counts by state, and a line for every cell without a result."""
        counts = [
            f"{len(self.cells_in(state))} {word}" for state, word in WORDS.items() if self.cells_in(state)
        ]
        cells = [*self.cells_in("failed"), *self.cells_in("missing")]
        width = max((len(cell.name) for cell in cells), default=0) + 1
        lines = [f"{self.state(cell):<7}  {cell.name + ':':<{width}} {self.reason(cell)}" for cell in cells]
        return "\n  ".join([f"{self.stage.name} {self.cells[0].study}: {', '.join(counts)}", *lines])

    def reason(self, cell: Cell) -> str:
        """Return why the cell has no result, and where the log is."""
        entry = self.stage.entry(cell)
        reason = self.errors.get(cell.name) or entry.failure
        if reason is None:
            return "interrupted" if self.interrupted else "its process was lost"
        log_file = f" (log: {near(entry.folder / FAILURE, cell)})" if entry.failure else ""
        return reason.partition("\n")[0] + log_file


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
    """Return a path relative to the folder of results, if it is inside."""
    return path.relative_to(cell.root) if path.is_relative_to(cell.root) else path
