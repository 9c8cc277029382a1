"""Copy finished results between the store and a folder or bucket.

`dvc pull` copies a whole study as it was committed. These functions copy single results, so that a study
which is changed on another machine trains only its new cells. A result is copied as one zip with its key as
name.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from tqdm import tqdm

from vae_likelihoods.cells.environment import RECORD
from vae_likelihoods.cells.identity import content_in, key_of
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import beside, write_whole
from vae_likelihoods.store.entry import DONE, IDENTITY, BusyError, DamagedError, Entry

ZIP_NAME = re.compile(r"([0-9a-f]{64})\.zip")


@dataclass
class Copied:
    """The number of results copied, the number that were already there, and the problems, a line each."""

    copied: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)


def push(store: Path, address: str) -> Copied:
    """Copy every finished result of `store` that `address` does not have.

    Args:
        store: the folder of results by key.
        address: a folder, or an address that fsspec knows, such as s3://bucket/cells.

    Raises:
        SettingError: if the address cannot be read or written.
    """
    with _named(address):
        files, folder = url_to_fs(address)
        try:
            present = keys_in(files, folder)
        except FileNotFoundError:
            present = set()
        keys = sorted({path.parent.name for path in store.glob(f"*/{DONE}")} - present)
        entries = [entry for key in keys if (entry := Entry(store / key)).done()]
        with TemporaryDirectory() as temporary:
            for entry in tqdm(entries, desc="push", unit="cell", disable=None):
                archive = Path(temporary) / "cell.zip"
                pack(entry, archive)
                place(archive, files, f"{folder}/{entry.folder.name}.zip")
    return Copied(len(entries), len(present))


def pull(store: Path, address: str) -> Copied:
    """Copy every result at `address` that `store` does not have, except those that are being computed now.

    Raises:
        SettingError: if the address cannot be read.
    """
    with _named(address):
        files, folder = url_to_fs(address)
        keys = sorted(keys_in(files, folder))
        entries = [entry for key in keys if not (entry := Entry(store / key)).done()]
        result = Copied(present=len(keys) - len(entries))
        for entry in tqdm(entries, desc="pull", unit="cell", disable=None):
            try:
                fetch(entry, files, f"{folder}/{entry.folder.name}.zip")
                result.copied += 1
            except (BusyError, DamagedError) as error:
                result.problems.append(str(error))
    return result


def keys_in(files: AbstractFileSystem, folder: str) -> set[str]:
    """Return the keys of the results in `folder`."""
    names = (PurePosixPath(path).name for path in files.ls(folder, detail=False))
    return {match[1] for name in names if (match := ZIP_NAME.fullmatch(name))}


def pack(entry: Entry, archive: Path) -> None:
    """Write the files of a result, their list and the data from which its key is computed into one zip."""
    records = [RECORD] if (entry.folder / RECORD).exists() else []
    with zipfile.ZipFile(archive, "w") as target:
        for name in (*entry.files(), IDENTITY, *records, DONE):
            target.write(entry.folder / name, name)


def place(archive: Path, files: AbstractFileSystem, target: str) -> None:
    """Copy the zip to `target` in one step, so that no reader sees a part of it."""
    if isinstance(files, LocalFileSystem):
        write_whole(Path(target), lambda aside: shutil.copyfile(archive, aside))
    else:
        files.put_file(str(archive), target)


def fetch(entry: Entry, files: AbstractFileSystem, source: str) -> None:
    """Copy one result into the store.

    Raises:
        BusyError: if another process computes it at the moment.
        DamagedError: if a file is missing or changed, or the content does not fit the key.
    """
    with entry.locked(wait_seconds=0), beside(entry.folder) as temporary:
        if not entry.done():  # it may have been finished a moment ago
            files.get_file(source, str(temporary / "cell.zip"))
            unpack(temporary / "cell.zip", temporary / "new", entry)


def unpack(archive: Path, aside: Path, entry: Entry) -> None:
    """Put a result into the store.

    Raises:
        DamagedError: if a file is missing or changed, or the content does not fit the key.
    """
    key = entry.folder.name
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(aside)
        recorded = json.loads((aside / IDENTITY).read_text())
        own_key = key_of(content_in(recorded))
    except (FileNotFoundError, ValueError, AttributeError, zipfile.BadZipFile):
        own_key = ""
    if own_key != key or not Entry(aside).done():
        raise DamagedError(f"{key}.zip is damaged; delete it there")
    entry.adopt(aside)


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Refuse an empty address; turn every error inside the block into one line that names the address."""
    require(
        bool(address.strip()),
        "place",
        address,
        "is empty; need a folder, or an address such as s3://bucket/cells",
    )
    try:
        yield
    except ImportError as error:
        reason = "needs packages: .venv/bin/python -m pip install -c constraints.txt -e '.[s3]'"
        raise SettingError("", address, f"{reason} ({error})") from error
    except Exception as error:  # each file system has errors of its own
        raise SettingError("", address, f"{type(error).__name__}: {error}") from error
