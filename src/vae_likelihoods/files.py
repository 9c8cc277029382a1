"""Files that are whole or absent: write aside, flush to the disk, rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]  # conf/, params.yaml and, unless told otherwise, all results
DAY_SECONDS = 24 * 60 * 60


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one step.

    A process that dies in between leaves the old file, or none; never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(aside)
        with aside.open("rb") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with the order of its keys kept."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Give an empty folder on the same file system as `folder`, removed at the end whatever happens.

    A killed process cannot remove its own; the next one removes what is older than a day.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        with suppress(FileNotFoundError):  # its own process may be removing it right now
            if time.time() - leftover.stat().st_mtime > DAY_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent) as temporary:
        yield Path(temporary)


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; on success it replaces `target`, else it is dropped."""
    with beside(target) as staging:
        new = staging / "new"  # made here and not by tempfile, which would leave it closed to other users
        new.mkdir()
        yield new
        if target.exists():
            target.rename(staging / "old")
        new.rename(target)
