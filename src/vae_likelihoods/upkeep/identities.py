"""What the key of a result is made of, in the store or by the present code; how two differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of, without_modules
from vae_likelihoods.files import PROJECT
from vae_likelihoods.store.modules import source_path
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.upkeep.inventory import SHORT, Stored

STAGE_OF = {"training": STAGES["train"], "evaluation": STAGES["evaluate"]}
SETTINGS = ("settings", "cell", "metric")  # the rest of an identity are hashes and versions
NEAREST = 3  # so many entries are compared


@dataclass(frozen=True)
class KeyedResult:
    """A result, there or not, and all that its key is made of.

    Args:
        label: what to call it.
        kind: training, evaluation, ...
        content: what is hashed.
        definitions: the code that `content["code"]` stands for, by ``module:name``; None if it is not known.
    """

    label: str
    kind: str
    content: Mapping[str, Any]
    definitions: Mapping[str, str] | None

    @classmethod
    def stored(cls, stored: Stored) -> KeyedResult:
        """Return that of an entry of the store that says what it is of."""
        return cls(stored.key[:SHORT], stored.kind, stored.identity, stored.definitions)

    @classmethod
    def present(cls, cell: Cell, kind: str) -> KeyedResult:
        """Return that which the present code gives `cell`.

        Raises:
            SettingError: if its data are not prepared, or what shall be evaluated was not trained.
        """
        identity = STAGE_OF[kind].identity(cell)
        return cls(f"{cell.study}/{cell.name}", kind, identity.content, identity.code.definitions)

    @property
    def key(self) -> str:
        """The key."""
        return key_of(self.content)


@dataclass(frozen=True)
class IdentityDifference:
    """One thing in which two identities differ."""

    name: str
    text: str
    setting: bool

    def __str__(self) -> str:
        return f"{self.name:<40}  {self.text}"


def differences(left: KeyedResult, right: KeyedResult) -> list[IdentityDifference]:
    """Return everything in which two results of one kind differ, settings first."""
    a, b = (flat(without_modules(each.content)) for each in (left, right))
    unlike = [
        IdentityDifference(name, f"{_shown(a.get(name))} | {_shown(b.get(name))}", _setting(name))
        for name in sorted({*a, *b} - {"code"}, key=lambda name: (not _setting(name), name))
        if a.get(name) != b.get(name)
    ]
    if a["code"] != b["code"]:
        unlike += [IdentityDifference(name, text, False) for name, text in _of_code(left, right)]
    return unlike


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings as JSON, which is what a key is made of: there 1 is not 1.0.

    Example:
        >>> flat({"a": {"b": 1, "c": [2, None]}, "d": {}})
        {'a.b': '1', 'a.c': '[2, null]', 'd': '{}'}
    """
    if not isinstance(value, Mapping) or not value:
        return {prefix: json.dumps(value, sort_keys=True)}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in flat(inner, f"{prefix}.{key}".lstrip(".")).items()
    }


def _of_code(left: KeyedResult, right: KeyedResult) -> Iterator[tuple[str, str]]:
    """Yield each definition that differs, or that only one of the two reaches; one that moved is the same."""
    if left.definitions is None or right.definitions is None:
        silent = [each.label for each in (left, right) if each.definitions is None]
        records = "do not record" if len(silent) > 1 else "does not record"
        yield "code", f"differs ({' and '.join(silent)} {records} which definitions)"
        return
    here, there = (_unmatched(*pair) for pair in ((left, right), (right, left)))
    for place in sorted({*here, *there}):
        only = left.label if place not in there else right.label
        yield _file_and_name(place), "changed" if place in here and place in there else f"only in {only}"
    if not here and not there:
        yield "code", "refers to other definitions of the same names"


def _unmatched(result: KeyedResult, other: KeyedResult) -> set[str]:
    """Return the places of definitions that the other does not have, wherever they stand there."""
    assert result.definitions is not None
    assert other.definitions is not None
    known = {(place.rpartition(":")[2], digest) for place, digest in other.definitions.items()}
    return {
        place
        for place, digest in result.definitions.items()
        if (place.rpartition(":")[2], digest) not in known
    }


def _file_and_name(place: str) -> str:
    """Return a place as people read it: the file from the project's folder, or the module, and the name."""
    module, _, name = place.rpartition(":")
    path = source_path(module)
    if path is not None and path.is_relative_to(PROJECT):
        return f"{path.relative_to(PROJECT).as_posix()}: {name}"
    return f"{module}: {name}"


def _setting(name: str) -> bool:
    return name.partition(".")[0] in SETTINGS


def _shown(leaf: str | None) -> str:
    """Return a leaf as people read it: strings without quotes, hashes cut, what is not there as "-"."""
    if leaf is None:
        return "-"
    value = json.loads(leaf)
    if not isinstance(value, str):
        return leaf
    is_hash = len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value[:SHORT] if is_hash else value


def nearest(result: KeyedResult, entries: Sequence[Stored]) -> list[tuple[Stored, list[IdentityDifference]]]:
    """Return the entries of the same kind with the same settings, or else those that differ least; three."""
    same_kind = [each for each in entries if each.kind == result.kind and each.key != result.key]
    candidates = [(each, differences(result, KeyedResult.stored(each))) for each in same_kind]
    same_settings = [candidate for candidate in candidates if not any(each.setting for each in candidate[1])]

    def distance(candidate: tuple[Stored, list[IdentityDifference]]) -> tuple[int, bool, float]:
        stored, unlike = candidate
        return len(unlike), not stored.entry.finished, stored.age_seconds

    return sorted(same_settings or candidates, key=distance)[:NEAREST]
