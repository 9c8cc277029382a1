"""MLflow while a sweep runs: every cell is logged as it advances, and an error of MLflow costs no cell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import HISTORY
from vae_likelihoods.errors import under
from vae_likelihoods.tracking.connection import refusal, store_uri
from vae_likelihoods.tracking.contents import varied
from vae_likelihoods.tracking.experiment import Status
from vae_likelihoods.tracking.mirror import Mirror

if TYPE_CHECKING:
    from vae_likelihoods.sweeps.sweep import Sweep

log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0  # after an error, before MLflow is tried again
REST = 30  # a pause is 30 times as long as the work before it: mirroring takes few percent of a core


def mirror_for(sweep: Sweep, command: Sequence[str]) -> Callable[[Sweep, bool], None]:
    """Return the function that `Watch` calls: it mirrors a sweep, and goes on if the server is down."""
    cell = sweep.cells[0]
    if cell.settings.tracking.uri == "none":
        return lambda sweep, last: None
    with under("tracking" if cell.settings.tracking.uri else "runtime"):
        uri = store_uri(cell.settings.tracking.uri, cell.root)
    return Guard(SweepMirror(Mirror(uri, cell.root, cell.study), sweep, command))


class SweepMirror:
    """Mirrors the cells of a sweep, of either stage; each finished cell once.

    Args:
        mirror: the study's experiment.
        sweep: the grid.
        command: the overrides that the user wrote.
    """

    def __init__(self, mirror: Mirror, sweep: Sweep, command: Sequence[str]) -> None:
        self.mirror, self.command, self.extra = mirror, command, varied(sweep.cells)
        self.waiting = {cell.name: cell for cell in sweep.cells}

    def __call__(self, sweep: Sweep, last: bool) -> None:
        """Log what is new; with `last`, also how the sweep ended.

        An error of one cell does not keep the others from being logged; after a second error they wait.

        Raises:
            Exception: the first that MLflow raised.
        """
        errors: list[Exception] = []
        for name, cell in list(self.waiting.items()):
            self.waiting[name] = self.waiting.pop(name)  # next time it comes after all others
            try:
                if self._log(sweep, cell, last):
                    del self.waiting[name]
            except Exception as error:
                self.mirror.forget()
                errors.append(error)
                if len(errors) > 1:
                    break
        if last and sweep.stage.name == "train" and len(errors) < 2:
            self.mirror.open_parent(sweep.cells, self.command)
            status: Status = "FAILED" if sweep.cells_in("failed") else "FINISHED"
            self.mirror.close_parent("KILLED" if sweep.cells_in("missing") else status)
        if errors:
            raise errors[0]

    def _log(self, sweep: Sweep, cell: Cell, last: bool) -> bool:
        """Log what is new of one cell; return whether nothing more will come."""
        state = sweep.state(cell)
        done = state in ("done", "stored")
        if sweep.stage.name != "train":
            evaluation = sweep.stage.target(cell)
            return (
                done
                and evaluation.exists()
                and self.mirror.update(cell, cell.run_folder, "FINISHED", evaluation, self.extra)
            )
        self.mirror.open_parent(sweep.cells, self.command)
        folder = sweep.stage.entry(cell).folder
        if not (folder / HISTORY).exists() and state != "failed":
            return False
        status: Status = "FINISHED" if done else "FAILED" if state == "failed" else "RUNNING"
        if last and status == "RUNNING":
            status = "KILLED"
        return self.mirror.update(cell, folder, status, extra=self.extra) and status != "RUNNING"


class Guard:
    """Calls a mirror; if MLflow raises, it warns once, pauses, and tries again, at the latest at the end."""

    def __init__(self, mirror: SweepMirror) -> None:
        self.mirror = mirror
        self.resume_at = 0.0
        self.warned = False

    def __call__(self, sweep: Sweep, last: bool) -> None:
        """Mirror, unless this is a pause after an error or after work."""
        start = time.monotonic()
        if start < self.resume_at and not last:
            return
        try:
            self.mirror(sweep, last)
            pause = min(PAUSE_SECONDS, REST * (time.monotonic() - start))
        except Exception as error:  # no error of tracking may cost a cell
            pause = PAUSE_SECONDS
            self.mirror.mirror.forget()
            if not self.warned:
                log.warning("%s", refusal(self.mirror.mirror.uri, error))
            self.warned = True
        self.resume_at = time.monotonic() + pause
