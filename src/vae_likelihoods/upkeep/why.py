"""Why a result is not found in the store, or what differs between two keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vae_likelihoods.errors import require
from vae_likelihoods.sweeps.studies import runtime
from vae_likelihoods.upkeep.identities import KeyedResult, differences, nearest
from vae_likelihoods.upkeep.inventory import SHORT, inventory
from vae_likelihoods.upkeep.lookup import Lookup


def reasons(first: str, second: str | None, evaluation: bool, root: Path, params: Path) -> list[str]:
    """Return lines that say why a result is not found in the store, or how two results differ.

    Args:
        first: `<study>/<cell>`, a key of the store, or the beginning of a key.
        second: the same for another result; None: compare with the nearest entries of the store.
        evaluation: whether `<study>/<cell>` means the evaluation of the cell, not its training.
        root: the folder of runs/ and the store.
        params: the params.yaml of the studies.

    Raises:
        SettingError: if a result does not exist, or the two are of different kinds.
    """
    lookup = Lookup(root, params, inventory(runtime(root).cell_store)[0])
    names = {"A": first} if second is None else {"A": first, "B": second}
    results = keyed_results(lookup, names, evaluation)
    compare = against_the_store if second is None else against_each_other
    return list(compare(lookup, *results))


def keyed_results(lookup: Lookup, names: Mapping[str, str], evaluation: bool) -> list[KeyedResult]:
    """Return the named results. A cell that is compared with an evaluation means its evaluation, too.

    Args:
        lookup: the store, the studies and the folders of results.
        names: each argument's name and its value.
        evaluation: whether `<study>/<cell>` means the evaluation of the cell, not its training.

    Raises:
        SettingError: if a result does not exist, or the results are of different kinds.
    """
    entries = {name: lookup.stored(name, text) for name, text in names.items() if "/" not in text}
    kinds = {entry.kind for entry in entries.values()} | ({"evaluation"} if evaluation else set())
    for name, entry in entries.items():
        state = f"is {entry.state} and does not record which result it is"
        require(entry.kind != "unknown", name, names[name], state)
        others = sorted(kinds - {entry.kind})
        reason = f"is of kind {entry.kind}; it cannot be compared with {' and '.join(others)}"
        require(len(kinds) == 1, name, names[name], reason)
    (kind,) = kinds or {"training"}
    for name in names.keys() - entries.keys():
        require(
            kind != "measurement",
            name,
            names[name],
            "has a measurement for every metric; give the key of one",
        )
    return [
        KeyedResult.stored(entries[name])
        if name in entries
        else KeyedResult.present(lookup.cell(name, text, kind), kind)
        for name, text in names.items()
    ]


def against_the_store(lookup: Lookup, result: KeyedResult) -> Iterator[str]:
    """Yield lines that say why the result is not found in the store."""
    yield f"{result.label}: {result.kind}, key {result.key[:SHORT]}"
    state = lookup.state(result.key)
    if state == "done":
        yield "nothing differs: it is in the store, done"
        return
    yield f"it is in the store, {state}" if state else "it is not in the store"
    neighbours = nearest(result, lookup.entries)
    if not neighbours:
        yield f"the store has no other {result.kind}"
    for entry, found in neighbours:
        yield f"beside {entry.key[:SHORT]} ({entry.name}, {entry.state}, {entry.age} old):"
        yield from (f"  {difference}" for difference in found)


def against_each_other(lookup: Lookup, left: KeyedResult, right: KeyedResult) -> Iterator[str]:
    """Yield lines that say how two results differ."""
    for name, result in (("A", left), ("B", right)):
        yield f"{name}  {result.label}: {result.kind}, key {result.key[:SHORT]}"
    state = lookup.state(left.key)
    if left.key == right.key:
        yield f"nothing differs: it is in the store, {state}" if state else "nothing differs"
    yield from map(str, differences(left, right))
