"""What a stage records of a result, beside it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from vae_likelihoods import sources
from vae_likelihoods.cells import Cell, key_of
from vae_likelihoods.stages import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_the_identity_is_what_the_key_is_made_of_and_the_code_of_every_module(
    small_cell: Callable[..., Cell], stage: str
) -> None:
    cell = small_cell("study=stages", "seed=7")
    for name in STAGES:
        STAGES[name].perform(cell.named(cell.name), lambda record: None)
    cell = cell.named(cell.name)
    entry = STAGES[stage].entry(cell)
    identity = json.loads((entry.folder / "identity.json").read_text())
    modules = identity.pop("modules")
    assert key_of(identity) == entry.folder.name  # the modules are no part of it
    assert sources.digest(modules) == identity["source"]
    assert {f"vae_likelihoods.{name}" for name in ("likelihoods.beta_binomial", "networks.mlp")} <= set(
        modules
    )
    assert f"vae_likelihoods.recipes.{'training' if stage == 'train' else 'evaluation'}" in modules
    assert all(code == sources.digest([module]) for module, code in modules.items())
