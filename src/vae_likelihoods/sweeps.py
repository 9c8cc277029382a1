"""A grid of cells: checked whole, taken from the store, run, watched, run again if lost."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from tqdm import tqdm

from vae_likelihoods.cells import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.stages import STAGES, Stage
from vae_likelihoods.store import BusyError
from vae_likelihoods.tracking import mirror_for
from vae_likelihoods.training import EpochRecord

State = Literal["done", "stored", "failed", "missing"]
ROUNDS = 3  # how often cells that were lost with their worker are started


class SweepError(CompactHydraException):
    """Some cells of a sweep have no result; Hydra prints the message without a traceback."""


def check_names(cells: Sequence[Cell]) -> None:
    """Refuse a grid in which two different cells would share a folder.

    Raises:
        SettingError: naming the folder and a setting in which the cells differ.
    """
    seen: dict[str, Cell] = {}
    for cell in cells:
        if seen.setdefault(cell.name, cell).key != cell.key:
            where = f"runs/{cell.study}/{cell.name}"
            raise SettingError("cell", cell.name, f"two different cells would be written to {where}")


class Sweep:
    """What became of every cell of one grid.

    Args:
        stage: what is done for each cell.
        cells: the grid, checked.
    """

    def __init__(self, stage: Stage, cells: Sequence[Cell]) -> None:
        self.stage, self.cells = stage, list(cells)
        self.stored: set[str] = set()

    def take_stored(self) -> None:
        """Lay out every cell whose result is in the store, whole; forget damaged results and old failures."""
        self.stored |= {cell.name for cell in self.cells if self._take(cell)}

    def _take(self, cell: Cell) -> bool:
        entry = self.stage.entry(cell)
        if self.stage.take(cell):
            return True
        if entry.finished or entry.failure:
            # Another driver may have finished it a moment ago, or have begun anew.
            with suppress(BusyError), entry.locked(wait_seconds=1):
                if not entry.done():
                    entry.begin()
        return False

    def state(self, cell: Cell) -> State:
        """Say where `cell` stands now."""
        entry = self.stage.entry(cell)
        if cell.name in self.stored:
            return "stored"
        if entry.finished:
            return "done"
        return "failed" if entry.failure else "missing"

    def of(self, *states: State) -> list[Cell]:
        """Return the cells that are in one of `states`."""
        return [cell for cell in self.cells if self.state(cell) in states]

    def note_error(self, cell: Cell, error: BaseException | None) -> None:
        """Record an error that a job raised before, or beside, its work on the cell."""
        if error is not None and self.state(cell) == "missing":
            self.stage.entry(cell).fail(f"{type(error).__name__}: {error}")

    def run(self, launch: Callable[[list[int]], None]) -> None:
        """Run what is not there; `launch` gets the indices of cells to run, and may lose some.

        Raises:
            SweepError: if cells failed or stayed missing, after all others are done.
        """
        for _ in range(ROUNDS):
            waiting = self.of("missing")
            if waiting:
                launch([index for index, cell in enumerate(self.cells) if cell in waiting])
        for cell in self.of("done"):
            # Finished for another study meanwhile, or by a process that died before it laid out its result.
            self._take(cell)
        print(self.table(), flush=True)
        if self.of("failed", "missing"):
            raise SweepError(f"{len(self.of('failed', 'missing'))} of {len(self.cells)} cells have no result")

    def table(self) -> str:
        """Return counts by state, and a line for every cell without a result."""
        counts = [f"{len(self.of(state))} {word}" for state, word in WORDS.items() if self.of(state)]
        lines = [f"{self.stage.name} {self.cells[0].study}: {', '.join(counts)}"]
        for cell in self.of("failed"):
            entry = self.stage.entry(cell)
            reason = (entry.failure or "").splitlines()[0]
            lines.append(
                f"  failed   {cell.name}: {reason} (log: {_near(entry.folder / 'failure.txt', cell)})"
            )
        lines += [f"  missing  {cell.name}: its process was lost" for cell in self.of("missing")]
        return "\n".join(lines)


WORDS: dict[State, str] = {
    "done": "done",
    "stored": "taken from the store",
    "failed": "failed",
    "missing": "missing",
}


def _near(path: Path, cell: Cell) -> Path:
    return path.relative_to(cell.root) if path.is_relative_to(cell.root) else path


class Watch(AbstractContextManager["Watch"]):
    """Looks at the sweep's files every so often: moves the progress bar and keeps MLflow up to date.

    Args:
        sweep: what to watch.
        mirror: called with the sweep, again and again, and with `last=True` at the end; see tracking.py.
        seconds: how long to wait between looks.
        bar: whether to show a progress bar over cells.
    """

    def __init__(
        self, sweep: Sweep, mirror: Callable[[Sweep, bool], None], seconds: float = 1.0, bar: bool = True
    ) -> None:
        self.sweep, self.mirror, self.seconds = sweep, mirror, seconds
        hidden = True if not bar else None  # None: hidden where there is no terminal
        title = f"{sweep.stage.name} {sweep.cells[0].study}"
        self.bar = tqdm(total=len(sweep.cells), desc=title, unit="cell", disable=hidden, file=sys.stderr)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._show()
        self.bar.close()
        self.mirror(self.sweep, True)

    def _look_on(self) -> None:
        while not self._stop.is_set():
            self._show()
            self.mirror(self.sweep, False)
            self._stop.wait(self.seconds)

    def _show(self) -> None:
        self.bar.n = len(self.sweep.of("done", "stored"))
        self.bar.refresh()


def give_back_memory() -> None:
    """Hand freed memory back to the system, which `prepare_cpu` keeps from happening during a cell.

    Joblib takes a worker that has grown by 300 MB for one that leaks, warns, and ends it.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def run_job(stage_name: str, config: DictConfig) -> None:
    """Do a stage for the one cell that `config` describes; the whole of a pipeline script.

    In a sweep the driver has named the cell and watches it. Alone, this process does both, and shows a
    progress bar over epochs.
    """
    stage, cell = STAGES[stage_name], Cell.of(config)
    if cell.settings.cell is not None:
        stage.perform(cell, lambda record: None)
        give_back_memory()
        return
    sweep = Sweep(stage, [cell.named(cell.name)])
    sweep.take_stored()
    epochs = cell.settings.training.epochs
    hidden = None if stage.name == "train" else True
    with (
        Watch(sweep, mirror_for(sweep, [], []), bar=False),
        tqdm(total=epochs, desc=cell.name, unit="epoch", disable=hidden) as bar,
    ):

        def tell(record: EpochRecord) -> None:
            bar.set_postfix_str(f"val {record.val_bits_per_dim:.4f} bits/dim", refresh=False)
            bar.update(record.epoch - bar.n)

        stage.perform(cell, tell)
    print(f"{stage.name}: {_near(stage.target(cell), cell)}")
