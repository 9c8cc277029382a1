"""The code that decides a result: every definition that a computation reaches, wherever it stands.

From entry points (a function, the classes that a configuration names) the names in the code are followed to
the functions, classes and constants that they stand for. What a definition says counts; in which module it
stands, and what that module is called, does not: a definition may be moved. Comments, docstrings and layout
do not count either.

Followed is the code of this package, of each package that an entry point is in, and of every module that is
no installed library: somebody's own likelihood counts with the modules that it imports. Names that are
imported for type checking alone are not followed. What a module does on import, beyond binding names, counts
if the computation imports the module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from vae_likelihoods.store import modules
from vae_likelihoods.store.definitions import WHOLE, External, Place, Reader, Text, digest_of, prefixes
from vae_likelihoods.store.modules import Alias

PACKAGE = __name__.partition(".")[0]
VERSIONED = frozenset({"torch"})  # packages whose version is part of every key
SHORT = 12  # digits of a definition's own hash


@dataclass(frozen=True)
class Code:
    """All that some entry points reach.

    Attributes:
        digest: a sha256 over it.
        definitions: ``module:name`` -> a hash of what this definition itself says.
    """

    digest: str
    definitions: Mapping[str, str] = field(repr=False)


@cache
def reached(*entries: str) -> Code:
    """Return the code that `entries` reach, each the full name of a function or class.

    Raises:
        ModuleNotFoundError: an entry names nothing that its module defines.
    """
    reader = _reader(frozenset({PACKAGE, *(entry.partition(".")[0] for entry in entries)} - VERSIONED))
    roots = [entry_point(reader, entry) for entry in entries]
    texts: dict[Place, Text] = {}
    _follow(reader, [root for root in roots if isinstance(root, Place)], texts)
    effects = _effects(reader, texts)
    numbers = {place: number for number, place in enumerate(texts)}
    content = [
        [numbers[root] if isinstance(root, Place) else root.name for root in roots],
        [_numbered(text, numbers) for text in texts.values()],
        sorted(_numbered(text, numbers) for text in effects),
    ]
    own = {f"{place.module}:{place.name}": text.own_digest[:SHORT] for place, text in sorted(texts.items())}
    return Code(digest_of(content), own)


def entry_point(reader: Reader, name: str) -> Place | External:
    """Return the definition that a full name stands for; what no followed module defines is external."""
    source = next((each for each in prefixes(name) if modules.module(each) is not None), None)
    if source is None or not reader.covers(source):
        return External(name)
    target, _ = reader.target(Alias(source), [part for part in name[len(source) :].split(".") if part])
    if isinstance(target, Place) and target.name == WHOLE:
        raise ModuleNotFoundError(f"{name}: {target.module} defines no such thing")
    return target


def forget() -> None:
    """Forget what was read: for a process in which sources change."""
    modules.forget()
    _reader.cache_clear()
    reached.cache_clear()


@cache
def _reader(packages: frozenset[str]) -> Reader:
    return Reader(packages)


def _follow(reader: Reader, places: list[Place], texts: dict[Place, Text]) -> None:
    """Add to `texts` what `places` reach, in an order that the code alone decides."""
    waiting = list(places)
    for place in waiting:  # grows meanwhile
        if place not in texts:
            texts[place] = reader.text(place)
            waiting += texts[place].references


def _effects(reader: Reader, texts: dict[Place, Text]) -> list[Text]:
    """Return what the modules of `texts` do on import, with all that they import; add what that reaches."""
    effects: list[Text] = []
    entered: set[str] = set()
    while waiting := [each for each in _imported(reader, texts) if each not in entered]:
        entered.update(waiting)
        new = sorted(
            (each for name in waiting for each in reader.effects(name)), key=lambda each: each.own_digest
        )
        effects += new
        _follow(reader, [place for effect in new for place in effect.references], texts)
    return effects


def _imported(reader: Reader, texts: dict[Place, Text]) -> list[str]:
    """Return every module that is imported where the definitions of `texts` are."""
    own = dict.fromkeys(place.module for place in texts)
    waiting = [each for name in own for each in prefixes(name) if reader.covers(each)]
    entered: dict[str, None] = {}
    for name in waiting:  # grows meanwhile
        if name not in entered:
            entered[name] = None
            waiting += reader.imports(name)
    return list(entered)


def _numbered(text: Text, numbers: Mapping[Place, int]) -> list[object]:
    return [text.digest, [numbers[place] for place in text.references]]
