"""Why a result is not taken from the store, or what differs between two keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vae_likelihoods.errors import require
from vae_likelihoods.sweeps.studies import runtime
from vae_likelihoods.upkeep.identities import KeyedResult, differences, nearest
from vae_likelihoods.upkeep.inventory import SHORT, inventory
from vae_likelihoods.upkeep.lookup import Lookup


def reasons(first: str, second: str | None, evaluation: bool, root: Path, params: Path) -> list[str]:
    """Return lines that say why a result is not taken from the store, or what differs between two.

    Args:
        first: `<study>/<cell>`, a key of the store, or the beginning of one.
        second: another one; None: the first is compared with the nearest entries of the store.
        evaluation: whether cells are meant as evaluated ones.
        root: the folder of runs/ and the store.
        params: the params.yaml of the studies.

    Raises:
        SettingError: if one of them does not exist, or a training run would be compared with an evaluation.
    """
    lookup = Lookup(root, params, inventory(runtime(root).cell_store)[0])
    names = {"A": first} if second is None else {"A": first, "B": second}
    results = keyed_results(lookup, names, evaluation)
    compare = against_the_store if second is None else against_each_other
    return list(compare(lookup, *results))


def keyed_results(lookup: Lookup, names: Mapping[str, str], evaluation: bool) -> list[KeyedResult]:
    """Return what the keys are made of; cells are evaluated ones if a key beside them is that of one.

    Args:
        lookup: the store, the studies and the folders of results.
        names: the name of each argument, and what it says.
        evaluation: whether cells are meant as evaluated ones.

    Raises:
        SettingError: if one does not exist, or they are of different kinds.
    """
    entries = {name: lookup.stored(name, text) for name, text in names.items() if "/" not in text}
    kinds = {entry.kind for entry in entries.values()} | ({"evaluation"} if evaluation else set())
    for name, entry in entries.items():
        state = f"is {entry.state} and does not say which result it is"
        require(entry.kind != "unknown", name, names[name], state)
        reason = f"is the key of {entry.kind}, not of the kind that it is compared with"
        require(len(kinds) == 1, name, names[name], reason)
    (kind,) = kinds or {"training"}
    for name in names.keys() - entries.keys():
        require(kind != "measurement", name, names[name], "has a measurement for every metric: give its key")
    return [
        KeyedResult.stored(entries[name])
        if name in entries
        else KeyedResult.present(lookup.cell(name, text, kind), kind)
        for name, text in names.items()
    ]


def against_the_store(lookup: Lookup, result: KeyedResult) -> Iterator[str]:
    """Yield why the result would not be taken from the store."""
    yield f"{result.label}: {result.kind}, key {result.key[:SHORT]}"
    state = lookup.state(result.key)
    if state == "done":
        yield "nothing differs: it is in the store, done"
        return
    yield f"it is in the store, {state}" if state else "it is not in the store"
    neighbours = nearest(result, lookup.entries)
    if not neighbours:
        yield f"the store has no other {result.kind}"
    for entry, unlike in neighbours:
        yield f"beside {entry.key[:SHORT]} ({entry.name}, {entry.state}, {entry.age} old):"
        yield from (f"  {difference}" for difference in unlike)


def against_each_other(lookup: Lookup, left: KeyedResult, right: KeyedResult) -> Iterator[str]:
    """Yield what differs between two keys."""
    for name, result in (("A", left), ("B", right)):
        yield f"{name}  {result.label}: {result.kind}, key {result.key[:SHORT]}"
    state = lookup.state(left.key)
    if left.key == right.key:
        yield f"nothing differs: it is in the store, {state}" if state else "nothing differs"
    yield from map(str, differences(left, right))
