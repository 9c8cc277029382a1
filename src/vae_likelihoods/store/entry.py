"""The cell store: a result is computed once, whoever asks for it.

`.cells/<key>/` is the folder of one result. While it is computed it holds what there is so far, and a lock
that dies with its process. When it is complete, `DONE` lists its files with their hashes. Results are then
laid out where a study wants them, from the store.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vae_likelihoods.files import beside, sha256, write_json, write_text

DONE, FAILURE, LOCK = "DONE", "failure.txt", "lock"


class BusyError(RuntimeError):
    """Another live process computes this result."""


class DamagedError(RuntimeError):
    """A result is not what was recorded when it was finished."""


class Entry:
    """One result of the store.

    Args:
        folder: `.cells/<key>` or a folder in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> dict[str, str]:
        """Return the recorded hashes by file; none if `DONE` is absent, damaged or names what is outside."""
        try:
            listed = json.loads((self.folder / DONE).read_text())
            inside = self.folder.resolve()
            good = isinstance(listed, dict) and all(
                isinstance(recorded, str) and inside in (inside / name).resolve().parents
                for name, recorded in listed.items()
            )
        except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle, JSON without end
            return {}
        return listed if good else {}

    def done(self) -> bool:
        """Whether the result is complete and every file still has the hash that was recorded."""
        files = self.files()
        try:
            return bool(files) and all(sha256(self.folder / name) == found for name, found in files.items())
        except OSError:
            return False

    @property
    def finished(self) -> bool:
        """Whether `DONE` is there, its hashes unchecked: for watching only."""
        return (self.folder / DONE).exists()

    @property
    def failure(self) -> str | None:
        """The traceback of the last attempt, if it raised."""
        try:
            return (self.folder / FAILURE).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):  # also where another process forgets it right now
            return None

    @contextmanager
    def locked(self, wait_seconds: float = -1) -> Iterator[None]:
        """Hold the lock; the operating system frees it when the process dies, however it dies.

        Args:
            wait_seconds: how long to wait for another process; -1: for ever.

        Raises:
            BusyError: if another process still holds the lock after `wait_seconds`.
        """
        lock = FileLock(self.folder / LOCK, timeout=wait_seconds)
        while not lock.is_locked:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with suppress(FileNotFoundError):  # another process removed the entry in between
                    lock.acquire()
            except Timeout as error:
                raise BusyError(f"{self.folder} is being computed by another process") from error
        try:
            yield
        finally:
            lock.release()

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
        """Copy the result's files to `target` and add `texts`, replacing what stands there, in one step.

        Any number of processes may do this at once: each puts a whole folder in place, the last one stays.
        If the very same files stand there already, they are left as they are.

        Raises:
            DamagedError: if a file is missing, or its copy has not the hash that was recorded.
        """
        files = self.files()
        if not files:
            raise DamagedError(f"{self.folder / DONE} is missing or damaged")
        if hashes(target) == files | {name: _sha256_of(text) for name, text in texts.items()}:
            return
        with beside(target) as aside:
            new = aside / "new"  # made here and not by tempfile, which would leave it closed to other users
            new.mkdir()
            for name, recorded in files.items():
                self._copy(name, recorded, new / name)
            for name, text in texts.items():
                (new / name).write_bytes(text.encode())
            _put(new, target)

    def _copy(self, name: str, recorded: str, copy: Path) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self.folder / name, copy)
        except FileNotFoundError as error:
            raise DamagedError(f"{self.folder / name} is missing") from error
        if sha256(copy) != recorded:
            raise DamagedError(f"{self.folder / name} is damaged")

    def remove(self) -> None:
        """Remove the entry; only with its lock held. Killed in between, it leaves nothing that looks done."""
        (self.folder / DONE).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
        (self.folder / LOCK).unlink()  # last: until here nobody else begins
        with suppress(OSError):  # somebody has begun
            self.folder.rmdir()


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file in `folder` by its name; none if they cannot be read, or move."""
    try:
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): sha256(path) for path in found}
    except OSError:
        return {}


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _put(new: Path, target: Path) -> None:
    """Rename the folder `new` to `target`; what stands there, and may change meanwhile, goes beside `new`."""
    for attempt in itertools.count():
        try:
            new.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            return
        if _exchanged(new, target):
            return
        with suppress(FileNotFoundError):
            target.rename(new.with_name(f"old-{attempt}"))


def _exchanged(left: Path, right: Path) -> bool:
    """Exchange two paths in one step, as Linux can on most file systems; return whether it did."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return call is not None and call(here, os.fsencode(left), here, os.fsencode(right), exchange) == 0
