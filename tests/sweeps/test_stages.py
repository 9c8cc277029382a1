"""What a stage records of a result, beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

from vae_likelihoods.cells.cell import Cell, key_of
from vae_likelihoods.metrics.base import Measured, Number
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.recipes.measuring import Trained, measure, read_measured
from vae_likelihoods.store import code as sources
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.units import Quantity


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
    modules, measurements = identity.pop("modules"), identity.pop("measurements", None)
    assert key_of(identity) == entry.folder.name  # the modules are no part of it
    assert (measurements is None) == (stage == "train")
    assert sources.digest(modules) == identity["source"]
    assert {f"vae_likelihoods.{name}" for name in ("likelihoods.beta_binomial", "networks.mlp")} <= set(
        modules
    )
    assert f"vae_likelihoods.recipes.{'training' if stage == 'train' else 'evaluation'}" in modules
    assert all(code == sources.digest([module]) for module, code in modules.items())


def test_another_metric_measures_nothing_again_but_itself(small_cell: Callable[..., Cell]) -> None:
    few, more = "metric=[bound,latents]", "metric=[bound,latents,reconstruction]"
    cell = small_cell("study=adding", "seed=8", few)
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
    store = cell.settings.runtime.cell_store
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/measured.json")}
    weights = cell.trained.folder / "model.safetensors"
    trained = weights.stat().st_mtime_ns

    again = small_cell("study=adding", "seed=8", more)
    for stage in STAGES.values():
        stage.perform(again, lambda record: None)
    after = {path: path.stat().st_mtime_ns for path in store.glob("*/measured.json")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert weights.stat().st_mtime_ns == trained
    found = json.loads((again.evaluation_folder / "metrics.json").read_text())
    assert {"bits_per_dim", "active_units", "squared_error"} <= found.keys()
    assert found["better"]["squared_error"] == "lower"


def test_what_is_measured_comes_back_from_the_store_to_the_last_bit(small_cell: Callable[..., Cell]) -> None:
    cell = small_cell("study=bits", "seed=9")
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
    trained = Trained(cell)
    for name in cell.settings.metric:
        kept = read_measured(cell.store(key_of(cell.measurement(name))).folder)
        fresh = measure(trained, name)
        assert kept.values == fresh.values
        assert {key: array.tobytes() for key, array in kept.per_image.items()} == {
            key: array.tobytes() for key, array in fresh.per_image.items()
        }


@pytest.mark.parametrize("value", [math.nan, -math.inf, [0.0, math.nan]])
def test_a_number_that_is_not_finite_is_named_and_nothing_is_laid_out(
    small_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch, value: float | list[float]
) -> None:
    cell = small_cell("study=notfinite", "seed=10", "metric=[latents]")
    STAGES["train"].perform(cell, lambda record: None)
    wrong = Measured({"odd_nats": Number(value, Quantity("nats"))})
    monkeypatch.setattr(Latents, "__call__", lambda *arguments: wrong)
    with pytest.raises(ValueError, match=r"metric latents: odd_nats is .*(nan|-inf).*, not finite"):
        STAGES["evaluate"].perform(cell, lambda record: None)
    assert not cell.evaluation_folder.exists()
    assert "odd_nats" in (cell.evaluated.failure or "")
