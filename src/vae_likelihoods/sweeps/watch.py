"""Looking at a sweep while it runs: a progress bar, and MLflow kept up to date."""

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
    """Looks at the sweep's files every so often: moves the progress bar and keeps MLflow up to date.

    Args:
        sweep: what to watch.
        mirror: called with the sweep, again and again, and with `last=True` at the end; see tracking/.
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
