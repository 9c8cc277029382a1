"""What a key is made of, for a key in the store or a cell as the present code has it; how two differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_likelihoods.cells.cell import Cell, key_of
from vae_likelihoods.files import PROJECT
from vae_likelihoods.store import code as sources
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.upkeep.inventory import SHORT, Stored

STAGE_OF = {"training": STAGES["train"], "evaluation": STAGES["evaluate"]}
SETTINGS = ("settings", "cell", "metric")  # the rest of an identity are hashes and versions
NEAREST = 3  # so many entries are compared


@dataclass(frozen=True)
class Identity:
    """All that a key is made of.

    Args:
        label: what to call it.
        kind: training or evaluation.
        content: what is hashed.
        modules: the code of each module that `content["source"]` stands for; None if it is not known.
    """

    label: str
    kind: str
    content: Mapping[str, Any]
    modules: Mapping[str, str] | None

    @classmethod
    def stored(cls, stored: Stored) -> Identity:
        """Return that of an entry of the store that says what it is of."""
        return cls(stored.key[:SHORT], stored.kind, stored.identity, stored.modules)

    @classmethod
    def present(cls, cell: Cell, kind: str) -> Identity:
        """Return that which the present code gives `cell`.

        Raises:
            SettingError: if its data are not prepared, or what shall be evaluated was not trained.
        """
        stage = STAGE_OF[kind]
        return cls(f"{cell.study}/{cell.name}", kind, stage.identity(cell), stage.code(cell))

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


def differences(left: Identity, right: Identity) -> list[IdentityDifference]:
    """Return everything in which two identities of one kind differ, settings first."""
    a, b = flat(left.content), flat(right.content)
    found = []
    for name in sorted({*a, *b} - {"source"}, key=lambda name: (not _setting(name), name)):
        if a.get(name) != b.get(name):
            found.append(
                IdentityDifference(name, f"{_shown(a.get(name))} | {_shown(b.get(name))}", _setting(name))
            )
    if a["source"] != b["source"]:
        found += [IdentityDifference(name, text, False) for name, text in _of_source(left, right)]
    return found


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


def _of_source(left: Identity, right: Identity) -> Iterator[tuple[str, str]]:
    """Yield each file whose code differs, or that only one of the two depends on."""
    if left.modules is None or right.modules is None:
        silent = [each.label for each in (left, right) if each.modules is None]
        records = "do not record" if len(silent) > 1 else "does not record"
        yield "source", f"differs ({' and '.join(silent)} {records} which files)"
        return
    for module in sorted({*left.modules, *right.modules}):
        here, there = left.modules.get(module), right.modules.get(module)
        if here != there:
            only = left.label if there is None else right.label
            yield _file(module), "changed" if here and there else f"only in {only}"


def _file(module: str) -> str:
    try:
        return sources.module_path(module).relative_to(PROJECT).as_posix()
    except ModuleNotFoundError:  # it is no more
        return module


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


def nearest(asked: Identity, entries: Sequence[Stored]) -> list[tuple[Stored, list[IdentityDifference]]]:
    """Return the entries of the same kind with the same settings, or else those that differ least; three."""
    same_kind = [each for each in entries if each.kind == asked.kind and each.key != asked.key]
    found = [(each, differences(asked, Identity.stored(each))) for each in same_kind]
    same_settings = [one for one in found if not any(each.setting for each in one[1])]

    def distance(one: tuple[Stored, list[IdentityDifference]]) -> tuple[int, bool, float]:
        return len(one[1]), not one[0].entry.finished, one[0].age_seconds

    return sorted(same_settings or found, key=distance)[:NEAREST]
