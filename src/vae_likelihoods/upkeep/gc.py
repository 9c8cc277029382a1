"""List or remove the results in the store that no study, no folder of results and no process uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from vae_likelihoods.files import DAY_SECONDS
from vae_likelihoods.sweeps.studies import axes, grid, runtime
from vae_likelihoods.upkeep import usage
from vae_likelihoods.upkeep.inventory import SHORT, Stored, inventory


def collect_garbage(root: Path, params: Path, older_than_days: float, drop: bool) -> Iterator[str]:
    """Yield lines that list every unused result; with `drop`, also remove the listed results.

    A result is used if the present code would take it for a cell of params.yaml, default or optional, or if
    a folder in runs/ or evaluations/ is a copy of it.

    Args:
        root: the folder of runs/ and the store.
        params: the params.yaml of the studies.
        older_than_days: younger results are counted, but neither listed nor removed.
        drop: whether to remove the listed results.

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
        yield "make gc DROP=yes removes the results that are not used"


def table(entries: Sequence[Stored]) -> str:
    """Return a text table with a row for each entry."""
    if not entries:
        return "every entry is used"
    rows = [("key", "kind", "cell", "state", "age", "size")]
    rows += [
        (entry.key[:SHORT], entry.kind, entry.name, entry.state, entry.age, size(entry.size_bytes))
        for entry in sorted(entries, key=lambda entry: (entry.kind, entry.name, entry.age_seconds))
    ]
    sides = (*["left"] * 4, "right", "right")
    return tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)


def total(entries: Sequence[Stored]) -> str:
    """Return the number of entries and their total size, in words."""
    noun = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries)} {noun}, {size(sum(entry.size_bytes for entry in entries))}"


def size(count: int) -> str:
    """Return a number of bytes in MB."""
    return f"{count / 1e6:.1f} MB"


def _remarks(store: Path, root: Path, used_by: usage.Usage, foreign: Sequence[str]) -> Iterator[str]:
    """Yield a line for each folder, study and file of which gc does not know everything."""
    if not store.is_relative_to(root):
        yield f"only results in {root} were checked; other folders may use this store, too"
    reasons: dict[str, list[str]] = {}
    for study, reason in used_by.unprepared.items():
        reasons.setdefault(str(reason), []).append(study)
    for text, named in reasons.items():
        studies = f"{'study' if len(named) == 1 else 'studies'} {', '.join(named)}"
        yield f"kept: every result with the settings of {studies}, as its keys are unknown ({text})"
    for name in foreign:
        yield f"left alone: {name} is not an entry of the store"


def _dropped(entries: Sequence[Stored]) -> Iterator[str]:
    """Remove entries; yield a line for each entry that is in use by now, and one with the number removed."""
    dropped = usage.drop(entries)
    for entry in entries:
        if entry not in dropped:
            yield f"left alone: {entry.key[:SHORT]} ({entry.name}) is in use by now"
    yield f"dropped   {total(dropped)}"
