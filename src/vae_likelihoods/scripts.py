"""How a script of pipelines/ ends: with one line for an error, and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Never

from hydra.core.utils import JobReturn, JobStatus

from vae_likelihoods.refusals import in_one_line

_TRACEBACKS = "HYDRA_FULL_ERROR"


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived; it is handled as Ctrl-C is."""


def run(main: Callable[[], None], expand: Callable[[Sequence[str]], list[str]] = list) -> None:
    """Run a script of pipelines/ until it ends.

    An error that data or settings caused is one line on stderr and exit code 1; with HYDRA_FULL_ERROR=1 it
    keeps its traceback. Ctrl-C and SIGTERM end it with one line and exit code 128 + the signal.

    Args:
        main: the script, which reads the words of its command line itself.
        expand: returns what stands for the words of its command line.
    """
    signal.signal(signal.SIGTERM, _terminate)
    asked = os.environ.get(_TRACEBACKS) == "1"
    try:
        sys.argv[1:] = expand(sys.argv[1:])
        with _without_hydras_words():
            main()
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        received = signal.SIGTERM if isinstance(error, TerminatedError) else signal.SIGINT
        sys.exit(128 + received)
    except Exception as error:
        line = None if asked else in_one_line(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        sys.exit(1)


@contextmanager
def _without_hydras_words() -> Iterator[None]:
    """Let errors leave Hydra as they are inside the block; it would write three lines around each."""
    before, framed = os.environ.get(_TRACEBACKS), vars(JobReturn)["return_value"]
    os.environ[_TRACEBACKS] = "1"
    setattr(JobReturn, "return_value", property(_value_of, framed.fset))  # noqa: B010 - else a type error
    try:
        yield
    finally:
        setattr(JobReturn, "return_value", framed)  # noqa: B010
        if before is None:
            del os.environ[_TRACEBACKS]
        else:
            os.environ[_TRACEBACKS] = before


def _value_of(job: JobReturn) -> Any:
    if job.status == JobStatus.COMPLETED:
        return job._return_value
    raise job._return_value


def _terminate(number: int, frame: FrameType | None) -> Never:
    raise TerminatedError
