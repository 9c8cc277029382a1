"""Which files of a folder are images: all of them, at any depth, in the order of their names."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vae_likelihoods.datasets.pictures import SUFFIXES
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import shown

SHOWN = 3  # files, or sizes, that a message names


@dataclass(frozen=True)
class Found:
    """A file, as it was when the folder was listed."""

    name: str  # relative to the folder, with / between folders
    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, and how many other files have which suffix."""

    files: list[Found]
    others: Counter[str]

    @property
    def sha256(self) -> str:
        """The hash of names, sizes and times: another one means that files were changed."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()


def list_images(folder: Path) -> Listing:
    """List `folder`; hidden files and folders are passed over, and links to folders not followed.

    Raises:
        SettingError: there is no such folder, it has no image, it cannot be read, or a link leaves it.
    """
    require(folder.is_dir(), "path", folder, "there is no such folder")

    def refuse(error: OSError) -> None:
        raise SettingError("path", folder, f"{error.filename} cannot be read ({error.strerror})")

    files: list[Found] = []
    others = Counter[str]()
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            _refuse_leaving(folder, Path(place, name))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES:
                files.append(_found(folder, path))
            else:
                others[shown(path.suffix.lower()) or "no suffix"] += 1
    kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
    there = f"; it has {most_common(others)}" if others else ""
    require(bool(files), "path", folder, f"no image ({kinds}) lies in it{there}")
    return Listing(sorted(files, key=lambda file: file.name), others)


def most_common(counts: Counter[str]) -> str:
    """Return the most frequent of what was counted, in words.

    Example:
        >>> most_common(Counter({"28 x 28": 1200, "1 x 1": 3}))
        '28 x 28 (1,200), 1 x 1 (3)'
    """
    named = ", ".join(f"{what} ({count:,})" for what, count in counts.most_common(SHOWN))
    return f"{named}, ..." if len(counts) > SHOWN else named


def _found(folder: Path, path: Path) -> Found:
    _refuse_leaving(folder, path)
    status, name = path.stat(), path.relative_to(folder).as_posix()
    reason = f"{name} is no regular file; remove it"
    require(stat.S_ISREG(status.st_mode), "path", folder, reason)
    return Found(name, status.st_size, status.st_mtime_ns)


def _refuse_leaving(folder: Path, path: Path) -> None:
    if path.is_symlink():
        inside = path.exists() and path.resolve().is_relative_to(folder.resolve())
        name = shown(path.relative_to(folder).as_posix())
        reason = f"{name} is a link that leaves the folder, or leads nowhere; remove it"
        require(inside, "path", folder, reason)
