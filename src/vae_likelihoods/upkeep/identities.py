"""The data from which the key of a result is computed, and how the data of two results differ."""

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
SETTINGS = ("settings", "cell", "metric")  # all other fields of an identity are hashes and versions
NEAREST = 3  # number of entries that a result is compared with


@dataclass(frozen=True)
class KeyedResult:
    """A result, which need not exist yet, with the data from which its key is computed.

    Args:
        label: the name of the result in messages.
        kind: training, evaluation, ...
        content: the data whose hash is the key.
        definitions: the hash of each definition of the code, by ``module:name``; None if they are unknown.
    """

    label: str
    kind: str
    content: Mapping[str, Any]
    definitions: Mapping[str, str] | None

    @classmethod
    def stored(cls, stored: Stored) -> KeyedResult:
        """Return the result of an entry of the store. The entry must record its identity."""
        return cls(stored.key[:SHORT], stored.kind, stored.identity, stored.definitions)

    @classmethod
    def present(cls, cell: Cell, kind: str) -> KeyedResult:
        """Return the result that the present code computes for `cell`.

        Raises:
            SettingError: if the data of the cell are not prepared, or it must be trained before evaluation.
        """
        identity = STAGE_OF[kind].identity(cell)
        return cls(f"{cell.study}/{cell.name}", kind, identity.content, identity.code.definitions)

    @property
    def key(self) -> str:
        """The key."""
        return key_of(self.content)


@dataclass(frozen=True)
class IdentityDifference:
    """One setting, hash, version or definition in which two identities differ."""

    name: str
    text: str
    setting: bool

    def __str__(self) -> str:
        return f"{self.name:<40}  {self.text}"


def differences(left: KeyedResult, right: KeyedResult) -> list[IdentityDifference]:
    """Return everything in which two results of one kind differ, settings first."""
    a, b = (flat(without_modules(each.content)) for each in (left, right))
    found = [
        IdentityDifference(name, f"{_shown(a.get(name))} | {_shown(b.get(name))}", _setting(name))
        for name in sorted({*a, *b} - {"code"}, key=lambda name: (not _setting(name), name))
        if a.get(name) != b.get(name)
    ]
    if a["code"] != b["code"]:
        found += [IdentityDifference(name, text, False) for name, text in _of_code(left, right)]
    return found


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings as JSON. A key is computed from JSON, in which 1 is not 1.0.

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
    """Yield each definition that differs or that only one result uses; a moved definition is the same."""
    if left.definitions is None or right.definitions is None:
        unknown = [each.label for each in (left, right) if each.definitions is None]
        records = "do not record" if len(unknown) > 1 else "does not record"
        yield "code", f"differs ({' and '.join(unknown)} {records} the definitions)"
        return
    here, there = (_unmatched(*pair) for pair in ((left, right), (right, left)))
    for place in sorted({*here, *there}):
        only = left.label if place not in there else right.label
        yield _file_and_name(place), "changed" if place in here and place in there else f"only in {only}"
    if not here and not there:
        yield "code", "differs in which of several definitions with the same name is used"


def _unmatched(result: KeyedResult, other: KeyedResult) -> set[str]:
    """Return the places of the definitions that `other` does not have at any place."""
    assert result.definitions is not None
    assert other.definitions is not None
    known = {(place.rpartition(":")[2], digest) for place, digest in other.definitions.items()}
    return {
        place
        for place, digest in result.definitions.items()
        if (place.rpartition(":")[2], digest) not in known
    }


def _file_and_name(place: str) -> str:
    """Return a place in readable form: the file (of another package: the module) and the name."""
    module, _, name = place.rpartition(":")
    path = source_path(module)
    if path is not None and path.is_relative_to(PROJECT):
        return f"{path.relative_to(PROJECT).as_posix()}: {name}"
    return f"{module}: {name}"


def _setting(name: str) -> bool:
    return name.partition(".")[0] in SETTINGS


def _shown(leaf: str | None) -> str:
    """Return a leaf in readable form: strings without quotes, hashes cut, a missing leaf as "-"."""
    if leaf is None:
        return "-"
    value = json.loads(leaf)
    if not isinstance(value, str):
        return leaf
    is_hash = len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value[:SHORT] if is_hash else value


def nearest(result: KeyedResult, entries: Sequence[Stored]) -> list[tuple[Stored, list[IdentityDifference]]]:
    """Return up to `NEAREST` entries of the same kind: with the same settings, else with few differences."""
    same_kind = [each for each in entries if each.kind == result.kind and each.key != result.key]
    candidates = [(each, differences(result, KeyedResult.stored(each))) for each in same_kind]
    same_settings = [candidate for candidate in candidates if not any(each.setting for each in candidate[1])]

    def distance(candidate: tuple[Stored, list[IdentityDifference]]) -> tuple[int, bool, float]:
        stored, found = candidate
        return len(found), not stored.entry.finished, stored.age_seconds

    return sorted(same_settings or candidates, key=distance)[:NEAREST]
