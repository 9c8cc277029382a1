"""Processes that advance cells of a race side by side, and are replaced when they die."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

ROUNDS = 3  # how often a job is started whose process is lost


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a value, or with the text of an error."""

    value: Any = None
    error: str | None = None


class Workers(AbstractContextManager["Workers"]):
    """A pool of processes.

    Args:
        count: how many jobs run at the same time.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def map(self, work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Outcome]]:
        """Call `work(*job)` for every job; yield its index and how it ended, in the order of their ends.

        A job whose process dies is started again, in the last round alone, as it may be what kills it.
        """
        waiting = list(range(len(jobs)))
        for attempt in range(1, ROUNDS + 1):
            groups = [[index] for index in waiting] if attempt == ROUNDS else [waiting] if waiting else []
            lost: list[int] = []
            for group in groups:
                started = {self._submit(work, jobs[index]): index for index in group}
                for future in as_completed(started):
                    outcome = self._outcome(future)
                    if outcome is None:
                        lost.append(started[future])
                    else:
                        yield started[future], outcome
            waiting = lost
        yield from ((index, Outcome(error="its process was lost")) for index in waiting)

    def _submit(self, work: Callable[..., Any], job: tuple[Any, ...]) -> Future[Any]:
        if self._pool is None:
            # Processes that are forked from one with threads may hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_leave_interrupts)
        try:
            return self._pool.submit(work, *job)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = None
            return self._submit(work, job)

    def _outcome(self, future: Future[Any]) -> Outcome | None:
        try:
            return Outcome(future.result())
        except BrokenProcessPool:
            return None
        except Exception as error:
            return Outcome(error=f"{type(error).__name__}: {' '.join(str(error).split())}")

    def stop(self) -> None:
        """End all processes, whatever they do: a cell goes on from its checkpoint."""
        if self._pool is not None:
            processes = list((self._pool._processes or {}).values())
            for process in processes:
                process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _leave_interrupts() -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the one that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
