"""How two keys differ: every setting, hash, version and file by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.upkeep.identities import KeyedResult, differences, nearest
from vae_likelihoods.upkeep.inventory import Stored

CONTENT: dict[str, Any] = {
    "kind": "training",
    "settings": {"latent_dim": 2, "seed": 0, "likelihood": {}, "optimizer": {"lr": 0.001, "betas": [0.9, 1]}},
    "data": "ab" * 32,
    "torch": "2.8.0",
    "code": "cd" * 32,
}
DEFINITIONS = {"vae_likelihoods.units:Unit": "1", "vae_likelihoods.training.trainer:Trainer": "2"}


def identity(
    modules: Mapping[str, str] | None = DEFINITIONS, label: str = "a", **changes: Any
) -> KeyedResult:
    return KeyedResult(label, "training", {**CONTENT, **changes}, modules)


def lines(left: KeyedResult, right: KeyedResult) -> list[tuple[str, str]]:
    return [(each.name, each.text) for each in differences(left, right)]


def settings(**changes: Any) -> dict[str, Any]:
    return {**CONTENT["settings"], **changes}


def test_nothing_differs_from_itself() -> None:
    assert lines(identity(), identity()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"latent_dim": 8}, ("settings.latent_dim", "2 | 8")),
        ({"latent_dim": 2.0}, ("settings.latent_dim", "2 | 2.0")),  # another JSON, another key
        ({"seed": False}, ("settings.seed", "0 | false")),
        ({"patience": None}, ("settings.patience", "- | null")),
        ({"likelihood": None}, ("settings.likelihood", "{} | null")),
        ({"optimizer": {"lr": 0.005, "betas": [0.9, 1]}}, ("settings.optimizer.lr", "0.001 | 0.005")),
        ({"optimizer": {"lr": 0.001, "betas": [0.9]}}, ("settings.optimizer.betas", "[0.9, 1] | [0.9]")),
    ],
)
def test_a_setting_is_named_with_both_values(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    other = identity(settings=settings(**changes))
    assert other.key != identity().key
    assert lines(identity(), other) == [expected]


def test_settings_come_first_and_hashes_are_cut() -> None:
    other = identity(settings=settings(seed=1), data="ef" * 32, torch="2.13.0")
    assert lines(identity(), other) == [
        ("settings.seed", "0 | 1"),
        ("data", "abababababab | efefefefefef"),
        ("torch", "2.8.0 | 2.13.0"),
    ]


def test_definitions_are_named_that_changed_or_that_one_of_the_two_does_not_need() -> None:
    names = {"vae_likelihoods.units:Unit": "1", "gone:law": "3", "vae_likelihoods.datasets.idx:read_idx": "4"}
    assert lines(identity(), identity(names, "b", code="ef" * 32)) == [
        ("gone: law", "only in b"),
        ("src/vae_likelihoods/datasets/idx.py: read_idx", "only in b"),
        ("src/vae_likelihoods/training/trainer.py: Trainer", "only in a"),
    ]
    changed = {**DEFINITIONS, "vae_likelihoods.training.trainer:Trainer": "5"}
    assert lines(identity(), identity(changed, code="ef" * 32)) == [
        ("src/vae_likelihoods/training/trainer.py: Trainer", "changed")
    ]


def test_a_definition_that_moved_is_the_same() -> None:
    moved = {"vae_likelihoods.units:Unit": "1", "vae_likelihoods.fitting:Trainer": "2", "gone:law": "3"}
    assert lines(identity(), identity(moved, "b", code="ef" * 32)) == [("gone: law", "only in b")]
    swapped = identity(code="ef" * 32)
    assert lines(identity(), swapped) == [
        ("code", "differs in which of several definitions with the same name is used")
    ]


def test_an_entry_that_records_no_definitions_cannot_tell_which() -> None:
    older = identity(None, "b", code="ef" * 32)
    assert lines(identity(), older) == [("code", "differs (b does not record the definitions)")]
    assert lines(older, older) == []
    both = "differs (b and c do not record the definitions)"
    assert lines(older, identity(None, "c")) == [("code", both)]


def put(store: Path, age: int, done: bool = True, **changes: Any) -> str:
    """Make an entry; return its key."""
    content = {**CONTENT, **changes}
    entry = Entry(store / key_of(content))
    entry.folder.mkdir(parents=True)
    path = entry.folder / "identity.json"
    path.write_text(json.dumps({**content, "definitions": DEFINITIONS}))
    if done:
        entry.finish([path.name])
    for written in entry.folder.iterdir():
        os.utime(written, (2e9 - age, 2e9 - age))
    return entry.folder.name


def order(store: Path, result: KeyedResult) -> list[str]:
    return [
        each.key for each, _ in nearest(result, [Stored(Entry(path)) for path in sorted(store.iterdir())])
    ]


def test_the_same_settings_are_nearer_than_fewer_differences(tmp_path: Path) -> None:
    put(tmp_path, 1, settings=settings(seed=1))
    older = put(tmp_path, 3, torch="1", data="0")
    newer = put(tmp_path, 2, torch="2", data="0")
    half = put(tmp_path, 1, done=False, torch="3", data="0")
    first = put(tmp_path, 9, torch="4")
    assert order(tmp_path, identity()) == [first, newer, older]
    assert half not in order(tmp_path, identity())


def test_else_the_fewest_differences_are_nearest(tmp_path: Path) -> None:
    two = put(tmp_path, 1, settings=settings(seed=1, latent_dim=3))
    first = put(tmp_path, 2, settings=settings(seed=1))
    put(tmp_path, 3, kind="evaluation", metric={})
    assert order(tmp_path, identity()) == [first, two]
    assert order(tmp_path, identity(settings=settings(seed=1))) == [two]  # not itself
