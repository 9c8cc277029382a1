"""Files that are whole or absent: write aside, flush to the disk, rename."""

from __future__ import annotations

import csv
import ctypes
import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]  # has conf/, params.yaml and, by default, all results
DAY_SECONDS = 24 * 60 * 60


def other_checkout(place: Path) -> Path | None:
    """Return the checkout in which `place` lies; None: in none, or in that of this package."""
    folders = (folder for folder in (place, *place.parents) if (folder / "src" / "vae_likelihoods").is_dir())
    checkout = next(folders, PROJECT).resolve()
    return None if checkout == PROJECT else checkout


def not_of(checkout: Path) -> str:
    """Say that the package is not that of `checkout`, and what to do."""
    return f"its sources would be those of {PROJECT}, not of {checkout}; run `make setup` in {checkout}"


def own_checkout(script: str) -> None:
    """End a script, with one line, unless the package lies in the same checkout.

    The .venv of a copied, moved or linked checkout still has the package of the first one.
    """
    path = Path(script).resolve()
    if checkout := other_checkout(path.parent):
        sys.exit(f"{path.relative_to(checkout)}: {not_of(checkout)}")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then replace `path` by it in one step.

    A process that dies in between leaves the old file or none, never half a file. Who may read the file is
    what the umask says, whatever `write` says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        aside.touch()
        mode = aside.stat().st_mode
        write(aside)
        if aside.stat().st_mode != mode:
            aside.chmod(mode)
        with aside.open("rb") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; keys keep their order."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table: a header, and a line for each row; floats with all of their digits."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, each as column -> text; a file that does not exist has no rows."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        return []


def sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Yield an empty folder on the file system of `folder`, and remove it at the end.

    A killed process leaves its folder behind; the next process removes those older than a day.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        with suppress(FileNotFoundError):  # its process may be removing it now
            if time.time() - leftover.stat().st_mtime > DAY_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent) as temporary:
        yield Path(temporary)


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """Yield an empty folder; it replaces `target` if the block succeeds, and is removed if it fails.

    Any number of processes may do this at once: each replaces a whole folder, and the last one stays.
    """
    with beside(target) as staging:
        new = staging / "new"  # not made by tempfile, whose folders are closed to other users
        new.mkdir()
        yield new
        _replace(target, new)


def _replace(target: Path, new: Path) -> None:
    """Rename `new` to `target`; the folder there, which may change meanwhile, is moved beside `new`."""
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


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file in `folder` by its path; none if a file vanishes meanwhile.

    Raises:
        PermissionError: if a file cannot be read.
    """
    try:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}
    except PermissionError:
        raise
    except OSError:
        return {}


def shown(name: object) -> str:
    r"""Return a name, or a text with one, as one line that a terminal does not obey and any file can hold.

    Example:
        >>> shown("a\nb\x1b[31m\udcff.png")
        'a\\nb\\x1b[31m\\xff.png'
    """
    return "".join(each if each.isprintable() else _escape(each) for each in str(name))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python reads a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
