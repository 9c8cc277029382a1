"""The results in the store that no study, folder of results or process uses: listed, or removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vae_likelihoods.files import DAY_SECONDS
from vae_likelihoods.sweeps.studies import axes, grid, runtime
from vae_likelihoods.upkeep import usage
from vae_likelihoods.upkeep.inventory import SHORT, Stored, inventory


def collect_garbage(root: Path, params: Path, older_than_days: float, drop: bool) -> Iterator[str]:
    """Yield lines that list every unused result, and with `drop` remove these.

    Used is what the present code would take for a cell of params.yaml, default or optional, and what a
    folder in runs/ or evaluations/ was laid out from.

    Args:
        root: the folder of runs/ and the store.
        params: the params.yaml of the studies.
        older_than_days: younger results are counted, neither listed nor removed.
        drop: whether to remove what is listed.

    Raises:
        SettingError: if a study cannot be composed; then nothing is removed.
    """
    store = runtime(root).cell_store
    if not store.is_dir():
        yield f"gc: there is no store at {store}"
        return
    entries, foreign = inventory(store)
    cells = [cell for name, study in axes(params).items() for cell in grid(name, study, root)]
    used_by = usage.Usage(root, cells, entries)
    used = [entry for entry in entries if used_by.uses(entry)]
    unused = [entry for entry in entries if entry not in used]
    old = [entry for entry in unused if entry.age_seconds >= older_than_days * DAY_SECONDS]
    yield f"store {store}"
    yield from _remarks(store, root, used_by, foreign)
    yield table(old)
    yield f"used      {total(used)}"
    yield f"not used  {total(old)}"
    if len(old) < len(unused):
        yield f"younger   {total([entry for entry in unused if entry not in old])}"
    if drop:
        yield from _dropped(old)
    elif old:
        yield "make gc DROP=yes drops what is not used"


def table(entries: Sequence[Stored]) -> str:
    """Return a line for each entry."""
    rows = [("key", "kind", "cell", "state", "age", "size")]
    rows += [
        (entry.key[:SHORT], entry.kind, entry.name, entry.state, entry.age, size(entry.size_bytes))
        for entry in sorted(entries, key=lambda entry: (entry.kind, entry.name, entry.age_seconds))
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines) if entries else "everything in it is used"


def total(entries: Sequence[Stored]) -> str:
    """Return how many entries there are, and how large they are together."""
    noun = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {noun}, {size(sum(entry.size_bytes for entry in entries))}"


def size(count: int) -> str:
    """Return a number of bytes in MB."""
    return f"{count / 1e6:.1f} MB"


def _remarks(store: Path, root: Path, used_by: usage.Usage, foreign: Sequence[str]) -> Iterator[str]:
    """Yield what was not looked at, kept in doubt or is no result."""
    if not store.is_relative_to(root):
        yield f"of the folders of results that may use this store, only {root} was looked at"
    for study, reason in used_by.unprepared.items():
        yield f"kept: all with the settings of study {study}, whose keys are not known ({reason})"
    for name in foreign:
        yield f"left alone: {name} is no entry of the store"


def _dropped(entries: Sequence[Stored]) -> Iterator[str]:
    """Remove entries; yield which of them are in use by now, and how many were removed."""
    dropped = usage.drop(entries)
    for entry in entries:
        if entry not in dropped:
            yield f"left alone: {entry.key[:SHORT]} ({entry.name}) is used by now"
    yield f"dropped   {total(dropped)}"
