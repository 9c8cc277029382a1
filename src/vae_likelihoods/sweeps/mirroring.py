"""MLflow while a sweep runs: each cell as it comes along, and never in the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.tracking.connection import refusal, store_uri
from vae_likelihoods.tracking.experiment import Status
from vae_likelihoods.tracking.mirror import Mirror

if TYPE_CHECKING:
    from vae_likelihoods.sweeps.sweep import Sweep

log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0  # after a failure the server is left alone for so long
REST = 30  # the mirror rests so many times as long as it worked, so that it takes few percent of a core


def mirror_for(sweep: Sweep, command: Sequence[str], extra: Sequence[str]) -> Callable[[Sweep, bool], None]:
    """Return the function that `Watch` calls: it mirrors a sweep, and survives a dead server."""
    cell = sweep.cells[0]
    if cell.settings.tracking.uri == "none":
        return lambda sweep, last: None
    uri = store_uri(cell.settings.tracking.uri, cell.root)
    return Guard(SweepMirror(Mirror(uri, cell.root, cell.study), sweep, command, extra))


class SweepMirror:
    """Mirrors the cells of a sweep, of either stage; each finished cell once.

    Args:
        mirror: the study's experiment.
        sweep: the grid.
        command: the overrides that made it.
        extra: the keys that it varies beyond the axes.
    """

    def __init__(self, mirror: Mirror, sweep: Sweep, command: Sequence[str], extra: Sequence[str]) -> None:
        self.mirror, self.command, self.extra = mirror, command, extra
        self.waiting = {cell.name: cell for cell in sweep.cells}

    def __call__(self, sweep: Sweep, last: bool) -> None:
        """Log what is new; with `last`, also how the sweep ended.

        What MLflow refuses of one cell costs the others nothing; after a second refusal they wait, too.

        Raises:
            Exception: the first that MLflow gave.
        """
        refusals: list[Exception] = []
        for name, cell in list(self.waiting.items()):
            self.waiting[name] = self.waiting.pop(name)  # the next time after all others
            try:
                if self._tell(sweep, cell, last):
                    del self.waiting[name]
            except Exception as error:
                self.mirror.forget()
                refusals.append(error)
                if len(refusals) > 1:
                    break
        if last and sweep.stage.name == "train" and len(refusals) < 2:
            self.mirror.open_parent(sweep.cells, self.command)
            ended: Status = "FAILED" if sweep.of("failed") else "FINISHED"
            self.mirror.close_parent("KILLED" if sweep.of("missing") else ended)
        if refusals:
            raise refusals[0]

    def _tell(self, sweep: Sweep, cell: Cell, last: bool) -> bool:
        """Log what is new of one cell; return whether that was all there will be."""
        state = sweep.state(cell)
        done = state in ("done", "stored")
        if sweep.stage.name != "train":
            laid_out = sweep.stage.target(cell)
            return (
                done
                and laid_out.exists()
                and self.mirror.update(cell, cell.run_folder, "FINISHED", laid_out, self.extra)
            )
        self.mirror.open_parent(sweep.cells, self.command)
        folder = sweep.stage.entry(cell).folder
        if not (folder / "history.csv").exists() and state != "failed":
            return False
        status: Status = "FINISHED" if done else "FAILED" if state == "failed" else "RUNNING"
        if last and status == "RUNNING":
            status = "KILLED"
        return self.mirror.update(cell, folder, status, extra=self.extra) and status != "RUNNING"


class Guard:
    """Calls a mirror; when MLflow does not answer, warns once, pauses, tries again at the end."""

    def __init__(self, mirror: SweepMirror) -> None:
        self.mirror = mirror
        self.resume_at = 0.0
        self.warned = False

    def __call__(self, sweep: Sweep, last: bool) -> None:
        """Mirror, unless MLflow failed or was busy a moment ago."""
        began = time.monotonic()
        if began < self.resume_at and not last:
            return
        try:
            self.mirror(sweep, last)
            rest = min(PAUSE_SECONDS, REST * (time.monotonic() - began))
        except Exception as error:  # whatever goes wrong in tracking must not cost a cell
            rest = PAUSE_SECONDS
            self.mirror.mirror.forget()
            if not self.warned:
                log.warning("%s", refusal(self.mirror.mirror.uri, error))
            self.warned = True
        self.resume_at = time.monotonic() + rest
