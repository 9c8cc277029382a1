"""The cell store: a result is computed once, whoever asks for it.

`.cells/<key>/` is the folder of one result. While it is computed it holds what there is so far, and a lock
that dies with its process. When it is complete, `DONE` lists its files with their hashes. Results are then
laid out where a study wants them, from the store.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vae_likelihoods.files import folder_aside, sha256, write_json, write_text

DONE, FAILURE, LOCK = "DONE", "failure.txt", "lock"


class BusyError(RuntimeError):
    """Another live process computes this result."""


class Entry:
    """One result of the store.

    Args:
        folder: `.cells/<key>` or a folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self) -> bool:
        """Whether the result is complete and every file still has the hash that was recorded."""
        try:
            files: dict[str, str] = json.loads((self.folder / DONE).read_text())
            return bool(files) and all(sha256(self.folder / name) == found for name, found in files.items())
        except (OSError, ValueError, AttributeError):
            return False

    @property
    def finished(self) -> bool:
        """Whether `DONE` is there, its hashes unchecked: for watching only."""
        return (self.folder / DONE).exists()

    @property
    def failure(self) -> str | None:
        """The traceback of the last attempt, if it raised."""
        path = self.folder / FAILURE
        return path.read_text() if path.exists() else None

    @contextmanager
    def locked(self, wait_seconds: float = -1) -> Iterator[None]:
        """Hold the lock; the operating system frees it when the process dies, however it dies.

        Args:
            wait_seconds: how long to wait for another process; -1: for ever.

        Raises:
            BusyError: if another process still holds the lock after `wait_seconds`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / LOCK, timeout=wait_seconds):
                yield
        except Timeout as error:
            raise BusyError(f"{self.folder} is being computed by another process") from error

    @property
    def busy(self) -> bool:
        """Whether a live process holds the lock."""
        if not (self.folder / LOCK).exists():
            return False
        try:
            with self.locked(wait_seconds=0):
                return False
        except BusyError:
            return True

    def begin(self) -> None:
        """Forget an earlier failure, and a DONE whose files no longer fit it."""
        (self.folder / DONE).unlink(missing_ok=True)
        (self.folder / FAILURE).unlink(missing_ok=True)

    def fail(self, report: str) -> None:
        """Record why the attempt failed."""
        write_text(self.folder / FAILURE, report)

    def finish(self, names: list[str]) -> None:
        """Declare the result complete: the files `names`, relative to the folder."""
        write_json(self.folder / DONE, {name: sha256(self.folder / name) for name in sorted(names)})

    def lay_out(self, target: Path, texts: Mapping[str, str]) -> None:
        """Copy the result's files to `target` and add `texts`, replacing what stands there, in one step."""
        files: dict[str, str] = json.loads((self.folder / DONE).read_text())
        with folder_aside(target) as aside:
            for name in files:
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, aside / name)
            for name, text in texts.items():
                (aside / name).write_text(text, encoding="utf-8")
