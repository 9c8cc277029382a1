"""Where a result was computed is recorded beside it, and never in it."""

from __future__ import annotations

import json
import platform
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vae_likelihoods.cells import environment as recording
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.environment import copy_record, environment, record, recorded
from vae_likelihoods.cells.identity import EVALUATION, TRAINING
from vae_likelihoods.cells.settings import Runtime
from vae_likelihoods.store import code
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.sweeps.stages import STAGES


def runtime(threads: int) -> Runtime:
    return Runtime(
        device="cpu",
        threads=threads,
        processes=1,
        cells_per_gpu=1,
        cells_at_once=1,
        checkpoint_seconds=0,
        root=None,
        store=None,
    )


def test_an_environment_says_what_decides_numbers_and_nothing_of_where_and_when() -> None:
    content = environment(3, torch.device("cpu"))
    assert content["threads"] == 3
    assert content["device"] == "cpu"
    assert content["packages"]["torch"] == torch.__version__
    assert content["kernels"]["cpu"] == torch.backends.cpu.get_cpu_capability()
    assert content["platform"]["system"] == platform.system()
    assert content["platform"]["processor"]
    text = json.dumps(content)
    for private in (socket.gethostname(), str(Path.cwd()), sys.prefix, time.strftime("%Y-%m-%d")):
        assert private not in text
    assert content == environment(3, torch.device("cpu"))


def test_a_limit_of_the_kernels_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert environment(1, torch.device("cpu"))["kernels"]["limits"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_work_that_goes_on_elsewhere_has_two_environments(tmp_path: Path) -> None:
    record(tmp_path, runtime(1))
    record(tmp_path, runtime(2))
    assert [one["threads"] for one in recorded(tmp_path / recording.RECORD)] == [2]  # begun anew
    (tmp_path / "checkpoint.pt").touch()
    record(tmp_path, runtime(1))
    record(tmp_path, runtime(1))
    assert [one["threads"] for one in recorded(tmp_path / recording.RECORD)] == [2, 1]


def test_no_record_and_half_a_record_are_none(tmp_path: Path) -> None:
    assert recorded(tmp_path / "environment.json") == []
    (tmp_path / "environment.json").write_text('[{"threads":')
    assert recorded(tmp_path / "environment.json") == []


def test_each_stage_records_beside_its_result_and_copies_that_when_it_lays_out(
    small_cell: Callable[..., Cell], prepared_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    cell = small_cell("likelihood=binomial", root=tmp_path)
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
        entry = stage.entry(cell)
        here = environment(cell.settings.runtime.threads, torch.device("cpu"))
        files = json.loads((entry.folder / "DONE").read_text())
        assert recorded(entry.folder / "environment.json") == [here]
        assert "environment.json" not in files
        assert not (stage.target(cell) / "environment.json").exists()
        copy = tmp_path / "logs" / "environments" / stage.name / cell.study / f"{cell.name}.json"
        assert json.loads(copy.read_text()) == {"environments": [here], "files": files}

    (entry.folder / "environment.json").unlink()  # as in a store that was filled before there were records
    stage.lay_out(cell, entry)
    assert not copy.exists()


def test_a_copy_without_record_is_no_copy(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "entry")
    entry.folder.mkdir()
    copy_record(entry.folder, tmp_path / "copy.json")
    assert not (tmp_path / "copy.json").exists()


def test_an_entry_that_was_dropped_meanwhile_has_no_copy(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("[{}]")
    (tmp_path / "copy.json").write_text("{}")
    copy_record(tmp_path, tmp_path / "copy.json")
    assert not (tmp_path / "copy.json").exists()


@pytest.mark.parametrize("recipe", ["training", "evaluation"])
def test_no_key_depends_on_it(recipe: str) -> None:
    reached = {"training": TRAINING, "evaluation": EVALUATION}[recipe]
    modules = {place.partition(":")[0] for place in code.reached(*reached).definitions}
    assert "vae_likelihoods.recipes.training" in modules or recipe == "evaluation"
    assert "vae_likelihoods.cells.environment" not in modules
