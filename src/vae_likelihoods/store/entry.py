"""The store: a result is computed once, whoever asks for it.

`.cells/<key>/` is the folder of one result. While it is computed it holds what there is so far, and a lock
that dies with its process. When it is complete, `DONE` lists its files with their hashes. `Entry.once` is the
one way to a result: training, evaluation, each metric and whatever else is worth keeping go through it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import folder_aside, hashes, sha256, write_json, write_text

DONE, FAILURE, LOCK, IDENTITY = "DONE", "failure.txt", "lock", "identity.json"
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)

T = TypeVar("T")


class BusyError(RuntimeError):
    """Another live process computes this result."""


class DamagedError(RuntimeError):
    """A result is not what was recorded when it was finished."""


class ForeignError(SettingError):
    """A result that this user may not read, or not go on with. It is not damaged, and is left as it is."""


class Entry:
    """One result of the store.

    Args:
        folder: `.cells/<key>`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(
        self,
        identity: Mapping[str, Any],
        compute: Callable[[Path], Iterable[str]],
        use: Callable[[Entry], T],
        context: str = "",
    ) -> T:
        """Return `use(self)` of the whole result; compute it first unless it lies here.

        A result that another process computes right now is waited for.

        Args:
            identity: what the key is made of, and what is worth recording beside it; becomes identity.json.
            compute: writes the result into the folder, where an earlier attempt may have left something;
                returns the names of the result's files.
            use: copies or reads the result while it is locked; may raise `DamagedError`.
            context: what the record of a failure says beside the traceback.

        Raises:
            ForeignError: if another user's rights stand in the way.
            Exception: whatever `compute` raises, after it was recorded here.
        """
        with self._locked_or_done() as locked:
            try:
                if self.done():
                    return use(self)
            except DamagedError:  # it was changed, or removed, since it was checked
                if not locked:
                    raise
            self.forget()
            with self._recording_failure(context):
                write_json(self.folder / IDENTITY, dict(identity))
                self.finish(compute(self.folder))
            return use(self)

    def advance(
        self, identity: Mapping[str, Any], work: Callable[[Path], Iterable[str] | None], context: str = ""
    ) -> bool:
        """Go on with the result, unless it is whole; return whether it is whole now.

        Args:
            identity: as for `once`.
            work: writes into the folder, where an earlier attempt may have left something; returns the names
                of the result's files, or None if it stopped before the end.
            context: what the record of a failure says beside the traceback.

        Raises:
            ForeignError: if another user's rights stand in the way.
            Exception: whatever `work` raises, after it was recorded here.
        """
        with self._locked_or_done() as locked:
            if self.done() or not locked:
                return True
            self.forget()
            with self._recording_failure(context):
                write_json(self.folder / IDENTITY, dict(identity))
                names = work(self.folder)
                if names is not None:
                    self.finish(names)
            return names is not None

    def take(self, use: Callable[[Entry], object], wait_seconds: float = -1) -> bool:
        """Call `use(self)` if the whole result lies here, else forget what is damaged or failed.

        Returns:
            Whether the result lies here.

        Raises:
            BusyError: if another process still holds the lock after `wait_seconds`.
            ForeignError: if another user's rights stand in the way.
        """
        with self._locked_or_done(wait_seconds) as locked:
            try:
                if self.done():
                    use(self)
                    return True
            except DamagedError:
                if not locked:
                    raise
            self.forget()
            return False

    def files(self) -> dict[str, str]:
        """Return the recorded hashes by file; none if `DONE` is absent, damaged or names what is outside.

        Raises:
            ForeignError: if it cannot be read.
        """
        try:
            with self._readable():
                text = (self.folder / DONE).read_text()
            listed = json.loads(text)
            inside = self.folder.resolve()
            good = isinstance(listed, dict) and all(
                isinstance(recorded, str) and inside in (inside / name).resolve().parents
                for name, recorded in listed.items()
            )
        except ForeignError:
            raise
        except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle, JSON without end
            return {}
        return listed if good else {}

    def done(self) -> bool:
        """Whether the result is complete and every file still has the hash that was recorded.

        Raises:
            ForeignError: if a file is there and cannot be read.
        """
        files = self.files()
        try:
            with self._readable():
                return bool(files) and all(
                    sha256(self.folder / name) == recorded for name, recorded in files.items()
                )
        except OSError:
            return False

    @property
    def finished(self) -> bool:
        """Whether `DONE` is there, its hashes unchecked: for watching only."""
        with self._readable():
            return (self.folder / DONE).exists()

    @property
    def failure(self) -> str | None:
        """The traceback of the last attempt, if it raised."""
        try:
            with self._readable():
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
            ForeignError: if another user made the entry, and this one may not write there.
        """
        lock = FileLock(self.folder / LOCK, timeout=wait_seconds)
        while not lock.is_locked:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # another process removed the entry in between
                    lock.acquire()
            except Timeout as error:
                raise BusyError(f"{self.folder} is being computed by another process") from error
            except PermissionError as error:
                raise self._foreign(error) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def busy(self) -> bool:
        """Whether a live process holds the lock."""
        with self._readable():
            if not (self.folder / LOCK).exists():
                return False
        try:
            with self.locked(wait_seconds=0):
                return False
        except BusyError:
            return True

    def check_access(self) -> None:
        """Refuse a result that was begun, and that this user may not go on with.

        Raises:
            ForeignError: naming the file.
        """
        if not self.finished:
            self.busy  # noqa: B018 - tries the lock

    def forget(self) -> None:
        """Forget an earlier failure, and a DONE whose files no longer fit it; only with the lock held."""
        (self.folder / DONE).unlink(missing_ok=True)
        (self.folder / FAILURE).unlink(missing_ok=True)

    def fail(self, report: str) -> None:
        """Record why an attempt failed."""
        write_text(self.folder / FAILURE, report)

    def finish(self, names: Iterable[str]) -> None:
        """Declare the result complete: the files `names`, relative to the folder."""
        write_json(self.folder / DONE, {name: sha256(self.folder / name) for name in sorted(names)})

    def adopt(self, folder: Path) -> None:
        """Take over the whole result that lies in `folder`; only with the lock held."""
        self.forget()
        paths = [path for path in folder.rglob("*") if path.is_file() and path != folder / DONE]
        for path in [*sorted(paths), folder / DONE]:  # last: until here nothing looks done
            target = self.folder / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)

    def lay_out(self, target: Path, texts: Mapping[str, str]) -> None:
        """Copy the result's files to `target` and add `texts`, replacing what stands there, in one step.

        If the very same files stand there already, they are left as they are.

        Raises:
            DamagedError: if a file is missing, or its copy has not the hash that was recorded.
        """
        files = self.files()
        if not files:
            raise DamagedError(f"{self.folder / DONE} is missing or damaged")
        if hashes(target) == files | {name: _sha256_of(text) for name, text in texts.items()}:
            return
        with folder_aside(target) as new:
            for name, recorded in files.items():
                self._copy(name, recorded, new / name)
            for name, text in texts.items():
                (new / name).write_bytes(text.encode())

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

    @contextmanager
    def _locked_or_done(self, wait_seconds: float = -1) -> Iterator[bool]:
        """Hold the lock and yield True; False: a finished result of another user, to be read without it."""
        with ExitStack() as held:
            locked = True
            try:
                held.enter_context(self.locked(wait_seconds))
            except ForeignError:
                if not self.done():
                    raise
                locked = False
            yield locked

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Tell what cannot be read at present from what is missing or damaged, which is computed again."""
        try:
            yield
        except OSError as error:
            if error.errno in MISSING:
                raise
            raise self._foreign(error) from error

    def _foreign(self, error: OSError) -> ForeignError:
        reason = (
            f"{error.filename or self.folder}: {error.strerror}; its owner can open it to the group "
            "(`chmod -R g+rwX`, and `umask 002` from then on), or take a store of your own"
        )
        return ForeignError("runtime.store", self.folder.parent, reason)

    @contextmanager
    def _recording_failure(self, context: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            with suppress(OSError):  # a full disk has no room for its own report
                self.fail(f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}\n{context}")
            raise

    def _copy(self, name: str, recorded: str, copy: Path) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self.folder / name, copy)
        except FileNotFoundError as error:
            raise DamagedError(f"{self.folder / name} is missing") from error
        if sha256(copy) != recorded:
            raise DamagedError(f"{self.folder / name} is damaged")


def _sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
