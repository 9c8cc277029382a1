"""Say why a cell is not taken from the store, or what differs between two keys.

    .venv/bin/python pipelines/why.py grey/gaussian-8-0            against the nearest entries of the store
    .venv/bin/python pipelines/why.py grey/gaussian-8-0 3f2a90     against the entry whose key begins so

<study>/<cell> is the key that the present code gives a cell of params.yaml, or one that lies in runs/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.studies import runtime
from vae_likelihoods.upkeep.identities import KeyedResult, differences, nearest
from vae_likelihoods.upkeep.inventory import SHORT, inventory
from vae_likelihoods.upkeep.lookup import Lookup


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what differs; return 1 after one line if what is asked for is not there."""
    options = _options(arguments)
    root = options.root.absolute()
    place = Lookup(root, options.params, inventory(runtime(root).cell_store)[0])
    try:
        texts = [options.A] if options.B is None else [options.A, options.B]
        found = identities(place, texts, options.evaluation)
        lines = list(against_the_store(found[0], place) if len(found) == 1 else against(*found, place))
    except SettingError as error:
        print(f"why: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def identities(place: Lookup, texts: Sequence[str], evaluation: bool) -> list[KeyedResult]:
    """Return what the keys are made of; cells are evaluated ones if asked for, or if a key is that of one.

    Raises:
        SettingError: if something is not there, or a training run would be compared with an evaluation.
    """
    named = dict(zip("AB", texts, strict=False))
    kept = {name: place.stored(name, text) for name, text in named.items() if "/" not in text}
    kinds = {each.kind for each in kept.values()} | ({"evaluation"} if evaluation else set()) or {"training"}
    for name, each in kept.items():
        require(each.kind != "unknown", name, named[name], f"is {each.state} and does not say what it is of")
        require(
            len(kinds) == 1, name, named[name], f"is the key of {each.kind}, not of what it is compared to"
        )
    (kind,) = kinds
    for name in named.keys() - kept.keys():
        require(kind != "measurement", name, named[name], "has a measurement for every metric: give its key")
    return [
        KeyedResult.stored(kept[name])
        if name in kept
        else KeyedResult.present(place.cell(name, text, kind), kind)
        for name, text in named.items()
    ]


def against_the_store(asked: KeyedResult, place: Lookup) -> Iterator[str]:
    """Yield why the result would not be taken from the store."""
    yield f"{asked.label}: {asked.kind}, key {asked.key[:SHORT]}"
    state = place.state(asked.key)
    if state == "done":
        yield "nothing differs: it is in the store, done"
        return
    yield f"it is in the store, {state}" if state else "it is not in the store"
    found = nearest(asked, place.entries)
    if not found:
        yield f"the store has no other {asked.kind}"
    for stored, unlike in found:
        yield f"beside {stored.key[:SHORT]} ({stored.name}, {stored.state}, {stored.age} old):"
        yield from (f"  {each}" for each in unlike)


def against(left: KeyedResult, right: KeyedResult, place: Lookup) -> Iterator[str]:
    """Yield what differs between two keys."""
    for name, each in (("A", left), ("B", right)):
        yield f"{name}  {each.label}: {each.kind}, key {each.key[:SHORT]}"
    state = place.state(left.key)
    if left.key == right.key:
        yield f"nothing differs: it is in the store, {state}" if state else "nothing differs"
    yield from map(str, differences(left, right))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("A", help="a key of the store, the beginning of one, or <study>/<cell>")
    parser.add_argument("B", nargs="?", help="another one")
    parser.add_argument("--evaluation", action="store_true", help="of cells: their evaluation, not training")
    parser.add_argument("--root", type=Path, default=PROJECT, help="folder of runs/ and the store")
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml", help="where the studies are")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
