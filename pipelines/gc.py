"""List what lies in the store and no study, folder of results or process uses; with --drop, remove it.

    .venv/bin/python pipelines/gc.py [--drop] [--older-than DAYS]

Used is what the present code would take for a cell of params.yaml, default or optional, and what a folder in
runs/ or evaluations/ was laid out from.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.studies import axes, grid, runtime
from vae_likelihoods.upkeep.inventory import SHORT, Stored, inventory
from vae_likelihoods.upkeep.usage import Usage, drop

DAY_SECONDS = 24 * 60 * 60


def main(arguments: Sequence[str] | None = None) -> int:
    """List, or drop; return 1 after one line if a study cannot be composed: then nothing is dropped."""
    options = _options(arguments)
    root = options.root.absolute()
    store = runtime(root).cell_store
    if not store.is_dir():
        print(f"gc: there is no store at {store}")
        return 0
    try:
        studies = axes(options.params)
        entries, foreign = inventory(store)
        cells = [cell for name, of in studies.items() for cell in grid(name, of, root)]
        usage = Usage(root, cells, entries)
    except SettingError as error:
        print(f"gc: {error}", file=sys.stderr)
        return 1
    used = [each for each in entries if usage.uses(each)]
    unused = [each for each in entries if each not in used]
    listed = [each for each in unused if each.age_seconds >= options.older_than * DAY_SECONDS]
    print(f"store {store}")
    if not store.is_relative_to(root):
        print(f"of the folders of results that may use this store, only {root} was looked at")
    for study, reason in usage.unprepared.items():
        print(f"kept: all with the settings of study {study}, whose keys are not known ({reason})")
    for name in foreign:
        print(f"left alone: {name} is no entry of the store")
    print(table(listed))
    print(f"used      {total(used)}")
    print(f"not used  {total(listed)}")
    if len(listed) < len(unused):
        print(f"younger   {total([each for each in unused if each not in listed])}")
    if options.drop:
        dropped = drop(listed)
        for each in listed:
            if each not in dropped:
                print(f"left alone: {each.key[:SHORT]} ({each.name}) is used by now")
        print(f"dropped   {total(dropped)}")
    elif listed:
        print("make gc DROP=yes drops what is not used")
    return 0


def table(entries: Sequence[Stored]) -> str:
    """Return a line for each entry."""
    rows = [("key", "kind", "cell", "state", "age", "size")]
    rows += [
        (each.key[:SHORT], each.kind, each.name, each.state, each.age, size(each.size_bytes))
        for each in sorted(entries, key=lambda each: (each.kind, each.name, each.age_seconds))
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines) if entries else "nothing lies in it that is not used"


def total(entries: Sequence[Stored]) -> str:
    """Return how many entries there are, and what they hold."""
    word = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {word}, {size(sum(each.size_bytes for each in entries))}"


def size(count: int) -> str:
    """Return a number of bytes in MB."""
    return f"{count / 1e6:.1f} MB"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--drop", action="store_true", help="remove what is listed")
    parser.add_argument("--older-than", type=float, default=0, metavar="DAYS", help="list only what is older")
    parser.add_argument("--root", type=Path, default=PROJECT, help="folder of runs/ and the store")
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml", help="where the studies are")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
