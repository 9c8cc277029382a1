"""Copy finished results between the store of cells and a folder or bucket: what the other side has not.

    .venv/bin/python pipelines/cells.py push s3://bucket/cells
    .venv/bin/python pipelines/cells.py pull /mnt/shared/cells

`dvc pull` brings a study as it was; this brings the cells that it is made of, so that a study which is
changed on another machine trains only what is new. A result travels under its key, as one zip.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from tqdm import tqdm

from vae_likelihoods.cells.environment import RECORD
from vae_likelihoods.cells.identity import content_in, key_of
from vae_likelihoods.files import PROJECT, beside, write_whole
from vae_likelihoods.store.entry import DONE, IDENTITY, BusyError, DamagedError, Entry

PACKED = re.compile(r"([0-9a-f]{64})\.zip")


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy one way; return 1 after a line that says what could not be copied."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("way", choices=["push", "pull"])
    parser.add_argument("place", help="a folder, or an address that fsspec knows, such as s3://bucket/cells")
    store = os.environ.get("VAE_LIKELIHOODS_STORE") or PROJECT / ".cells"
    parser.add_argument("--store", type=Path, default=store, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        files, folder = url_to_fs(options.place)
        copy = push if options.way == "push" else pull
        return copy(options.store.expanduser().absolute(), files, folder)
    except Exception as error:  # each kind of place raises its own
        print(f"cells: {options.place}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def push(store: Path, files: AbstractFileSystem, folder: str) -> int:
    """Copy every finished result of `store` that `folder` has not."""
    try:
        there = packed(files, folder)
    except FileNotFoundError:
        there = set()
    missing = sorted(path.parent.name for path in store.glob(f"*/{DONE}") if path.parent.name not in there)
    entries = [entry for key in missing if (entry := Entry(store / key)).done()]
    with TemporaryDirectory() as temporary:
        for entry in tqdm(entries, desc="push", unit="cell", disable=None):
            archive = Path(temporary) / "cell.zip"
            pack(entry, archive)
            place(archive, files, f"{folder}/{entry.folder.name}.zip")
    print(f"cells: {len(entries)} pushed, {len(there)} were there")
    return 0


def pull(store: Path, files: AbstractFileSystem, folder: str) -> int:
    """Copy every result in `folder` that `store` has not; leave alone what is computed right now."""
    there = packed(files, folder)
    entries = [entry for key in sorted(there) if not (entry := Entry(store / key)).done()]
    problems: list[str] = []
    for entry in tqdm(entries, desc="pull", unit="cell", disable=None):
        try:
            with entry.locked(wait_seconds=0), beside(entry.folder) as temporary:
                if not entry.done():  # it may have been finished a moment ago
                    archive = temporary / "cell.zip"
                    files.get_file(f"{folder}/{entry.folder.name}.zip", str(archive))
                    unpack(archive, temporary / "new", entry)
        except (BusyError, DamagedError) as error:
            problems.append(str(error))
    for problem in problems:
        print(f"cells: {problem}", file=sys.stderr)
    print(f"cells: {len(entries) - len(problems)} pulled, {len(there) - len(entries)} were here")
    return 1 if problems else 0


def packed(files: AbstractFileSystem, folder: str) -> set[str]:
    """Return the keys of the results in `folder`."""
    names = (PurePosixPath(path).name for path in files.ls(folder, detail=False))
    return {found[1] for name in names if (found := PACKED.fullmatch(name))}


def pack(entry: Entry, archive: Path) -> None:
    """Write a result's files, what lists them and what its key is made of into one zip."""
    told = [RECORD] if (entry.folder / RECORD).exists() else []
    with zipfile.ZipFile(archive, "w") as target:
        for name in (*entry.files(), IDENTITY, *told, DONE):
            target.write(entry.folder / name, name)


def place(archive: Path, files: AbstractFileSystem, target: str) -> None:
    """Put the zip in place in one step, as a bucket does by itself."""
    if isinstance(files, LocalFileSystem):
        write_whole(Path(target), lambda aside: shutil.copyfile(archive, aside))
    else:
        files.put_file(str(archive), target)


def unpack(archive: Path, aside: Path, entry: Entry) -> None:
    """Put a result into the store, if it is whole and is the one that its key names.

    Raises:
        DamagedError: if it is not.
    """
    key = entry.folder.name
    try:
        with zipfile.ZipFile(archive) as source:
            source.extractall(aside)
        found = json.loads((aside / IDENTITY).read_text())
        named = key_of(content_in(found))
    except (FileNotFoundError, ValueError, AttributeError, zipfile.BadZipFile):
        named = ""
    if named != key or not Entry(aside).done():
        raise DamagedError(f"{key}.zip is damaged; delete it there")
    entry.adopt(aside)


if __name__ == "__main__":
    sys.exit(main())
