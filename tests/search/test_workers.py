"""Processes of a race: errors are texts, and a process that dies is replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from vae_likelihoods.search.workers import ROUNDS, Workers


def double(number: int) -> int:
    return 2 * number


def divide(number: int) -> float:
    return 1 / number


def die_once(path: Path, number: int) -> int:
    """Kill this process the first time that it is called with a path."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def test_jobs_end_with_a_value_or_the_text_of_an_error() -> None:
    with Workers(2) as workers:
        done = dict(workers.map(divide, [(1,), (0,), (2,)]))
        assert [done[index].value for index in (0, 2)] == [1.0, 0.5]
        assert done[1].error == "ZeroDivisionError: division by zero"
        assert dict(workers.map(double, [])) == {}


def test_what_a_dying_process_took_along_is_done_again(tmp_path: Path) -> None:
    with Workers(2) as workers:
        done = dict(workers.map(die_once, [(tmp_path / "died", number) for number in range(3)]))
        assert {index: outcome.value for index, outcome in done.items()} == {0: 0, 1: 1, 2: 2}


def test_a_job_that_always_kills_its_process_is_given_up_and_the_others_are_not() -> None:
    with Workers(2) as workers:
        done = dict(workers.map(die, [(number,) for number in range(4)]))
        assert done[0].error == "its process was lost"
        assert [done[index].value for index in (1, 2, 3)] == [1, 2, 3]
    assert ROUNDS >= 2


def test_leaving_ends_processes_at_once() -> None:
    began = time.monotonic()
    with Workers(1) as workers:
        jobs = workers.map(sleep, [(0.01,), (600.0,)])
        next(jobs)
    assert time.monotonic() - began < 60
