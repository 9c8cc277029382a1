"""What a stage records of a result, beside it."""

from __future__ import annotations

import ast
import json
import math
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import content_in, key_of
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.recipes.measuring import Trained, measure, read_measured
from vae_likelihoods.sweeps.memory import LOWER, OutOfMemoryError, naming_what_to_lower
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.units.declaration import Declaration


@pytest.mark.parametrize("stage", STAGES)
def test_the_identity_is_what_the_key_is_made_of_and_the_code_of_every_definition(
    small_cell: Callable[..., Cell], stage: str
) -> None:
    cell = small_cell("study=stages", "seed=7")
    for name in STAGES:
        STAGES[name].perform(cell.named(cell.name), lambda record: None)
    cell = cell.named(cell.name)
    entry = STAGES[stage].entry(cell)
    identity = json.loads((entry.folder / "identity.json").read_text())
    assert key_of(content_in(identity)) == entry.folder.name
    assert ("measurements" in identity) == (stage == "evaluate")
    code = STAGES[stage].identity(cell).code
    assert (identity["code"], identity["definitions"]) == (code.digest, code.definitions)
    recipe = {"train": "recipes.training:train", "evaluate": "recipes.evaluation:evaluate"}[stage]
    names = (recipe, "likelihoods.beta_binomial:BetaBinomial", "networks.mlp:mlp")
    assert {f"vae_likelihoods.{name}" for name in names} <= identity["definitions"].keys()


# What says where results lie and keeps them there: no number hangs on it.
KEEPING = (
    *("store.", "sweeps.", "recipes.keeping:", "cells.cell:", "cells.identity:", "cells.settings:"),
    "cells.unread:",  # which settings are in no key
    *("cells.environment:", "files:beside", "files:folder_aside", "files:_", "files:hashes"),
    "trained.folder:described",  # model.json, which says what was computed
    "training.checkpoints:save_weights",  # of what a metric keeps; training itself reaches it
)


def test_everything_that_runs_for_a_number_is_part_of_the_key(small_cell: Callable[..., Cell]) -> None:
    cell = small_cell("study=traced", "seed=11", "metric=[bound,latents,reconstruction,samples,probe]")
    for stage in STAGES.values():
        places = traced(lambda stage=stage: stage.perform(cell, lambda record: None))
        assert len(places) > 60
        decisive = {place for place in places if not place.startswith(KEEPING)}
        definitions = stage.identity(cell).code.definitions
        assert decisive <= {place.removeprefix("vae_likelihoods.") for place in definitions}


def traced(work: Callable[[], None]) -> set[str]:
    """Return the top-level definitions of this package whose code `work` runs, as ``module:name``."""
    codes: set[CodeType] = set()
    sys.setprofile(lambda frame, event, argument: codes.add(frame.f_code))
    try:
        work()
    finally:
        sys.setprofile(None)
    package = PROJECT / "src" / "vae_likelihoods"
    return {
        f"{'.'.join(path.relative_to(package).with_suffix('').parts)}:{name}"
        for code in codes
        if (path := Path(code.co_filename)).is_relative_to(package)
        and (name := definition_at(path, code.co_firstlineno))
    }


@cache
def spans(path: Path) -> list[tuple[int, int, str]]:
    body = ast.parse(path.read_text()).body
    nodes = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [
        (
            min(node.lineno, *(each.lineno for each in [node, *node.decorator_list])),
            node.end_lineno or 0,
            node.name,
        )
        for node in nodes
    ]


def definition_at(path: Path, line: int) -> str | None:
    return next((name for first, last, name in spans(path) if first <= line <= last), None)


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
    metrics = json.loads((again.evaluation_folder / "metrics.json").read_text())
    assert {"bits_per_dim", "active_units", "squared_error"} <= metrics.keys()
    assert metrics["declarations"]["squared_error"]["better"] == "lower"


def test_what_is_measured_comes_back_from_the_store_to_the_last_bit(small_cell: Callable[..., Cell]) -> None:
    cell = small_cell("study=bits", "seed=9")
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
    trained = Trained(cell)
    for name in cell.settings.metric:
        kept = read_measured(cell.entry(cell.measurement_of(name, cell.weights).key).folder)
        fresh = measure(trained, name)
        assert kept.values == fresh.values
        assert {key: array.tobytes() for key, array in kept.per_image.items()} == {
            key: array.tobytes() for key, array in fresh.per_image.items()
        }


@pytest.mark.parametrize(("seed", "value"), [(110, math.nan), (111, -math.inf), (112, [0.0, math.nan])])
def test_a_number_that_is_not_finite_is_missing_with_its_reason(
    small_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch, seed: int, value: float | list[float]
) -> None:
    cell = small_cell(f"study=notfinite{seed}", f"seed={seed}", "metric=[bound,latents]")
    STAGES["train"].perform(cell, lambda record: None)
    wrong = {"collapsed_share": value}
    monkeypatch.setattr(Latents, "__call__", lambda *arguments: wrong)
    STAGES["evaluate"].perform(cell, lambda record: None)
    metrics = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    assert metrics["collapsed_share"] is None
    assert metrics["missing"]["collapsed_share"].startswith("it came out as ")
    assert math.isfinite(metrics["bits_per_dim"])


def test_a_name_that_two_metrics_declare_is_refused(
    small_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = small_cell("study=twice", "seed=10", "metric=[bound,latents]")
    STAGES["train"].perform(cell, lambda record: None)
    monkeypatch.setattr(Latents, "declarations", lambda metric, levels: [Declaration("nll_nats", "another")])
    monkeypatch.setattr(Latents, "__call__", lambda *arguments: {"nll_nats": 1.0})
    with pytest.raises(SettingError, match="metric=nll_nats: is declared twice"):
        STAGES["evaluate"].perform(cell, lambda record: None)


LACKS = [
    torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of ..."
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried ..."
    ),
    MemoryError("Unable to allocate 30. GiB for an array"),
]


@pytest.mark.parametrize("error", LACKS, ids=["gpu", "cpu", "numpy"])
@pytest.mark.parametrize(("stage", "lower"), LOWER.items())
def test_a_lack_of_memory_is_one_line_that_says_what_to_lower(
    small_cell: Callable[..., Cell],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    lower: str,
    error: Exception,
) -> None:
    cell = small_cell("study=memory", f"runtime.store='{tmp_path}'")
    if stage == "evaluate":
        STAGES["train"].perform(cell, lambda record: None)

    def work(*_: Any) -> list[str]:
        raise error

    monkeypatch.setattr(STAGES[stage], "work", work)
    with pytest.raises(
        OutOfMemoryError, match=f"^out of memory on cpu: lower {lower}, or runtime.cells_at_once$"
    ):
        STAGES[stage].perform(cell, lambda record: None)
    assert str(STAGES[stage].entry(cell).failure).startswith("OutOfMemoryError: out of memory on cpu: lower")
    assert "Traceback" in (STAGES[stage].entry(cell).folder / "failure.txt").read_text()


def test_another_error_stays_what_it_is(small_cell: Callable[..., Cell]) -> None:
    with (
        pytest.raises(RuntimeError, match=r"^shapes differ$"),
        naming_what_to_lower("train", torch.device("cpu")),
    ):
        raise RuntimeError("shapes differ")
