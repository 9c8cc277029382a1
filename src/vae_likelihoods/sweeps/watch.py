"""A thread that watches a running sweep: it moves the progress bar and keeps MLflow up to date."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from tqdm import tqdm

from vae_likelihoods.sweeps.sweep import Sweep


class Watch(AbstractContextManager["Watch"]):
    """Reads the sweep's files at intervals, moves the progress bar and calls the mirror.

    Args:
        sweep: what to watch.
        mirror: called with the sweep at each interval, and with `last=True` at the end; see mirroring.py.
        seconds: the length of an interval.
        bar: whether to show a progress bar over cells.
    """

    def __init__(
        self, sweep: Sweep, mirror: Callable[[Sweep, bool], None], seconds: float = 1.0, bar: bool = True
    ) -> None:
        self.sweep, self.mirror, self.seconds = sweep, mirror, seconds
        hidden = True if not bar else None  # None: hidden without a terminal
        title = f"{sweep.stage.name} {sweep.cells[0].study}"
        self.bar = tqdm(total=len(sweep.cells), desc=title, unit="cell", disable=hidden, file=sys.stderr)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

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

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._show()
            self.mirror(self.sweep, False)
            self._stop.wait(self.seconds)

    def _show(self) -> None:
        self.bar.n = len(self.sweep.cells_in("done", "stored"))
        self.bar.refresh()
