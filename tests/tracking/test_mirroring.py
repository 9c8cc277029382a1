"""A sweep and its mirror: a dead server, a refused cell, and no more work than there is."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.sweeps.mirroring import Guard, SweepMirror, mirror_for
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.sweeps.sweep import JobError, Sweep

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own and its dependencies'


def tracked_at(cell: Cell, uri: str) -> Cell:
    tracking = cell.settings.tracking.model_copy(update={"uri": uri})
    return Cell(cell.settings.model_copy(update={"tracking": tracking}))


def test_a_dead_server_costs_a_warning_and_no_result(
    cell: Cell, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sweep = Sweep(STAGES["train"], [tracked_at(cell, "http://127.0.0.1:9")])
    mirror = mirror_for(sweep, [])
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            mirror(sweep, False)
        mirror(sweep, True)
    assert time.monotonic() - began < 20
    warnings = [record.message for record in caplog.records if "make sync" in record.message]
    assert len(warnings) == 1
    assert len(warnings[0]) < 200


def test_tracking_can_be_off(cell: Cell, finished: Path) -> None:
    sweep = Sweep(STAGES["train"], [tracked_at(cell, "none")])
    mirror = mirror_for(sweep, [])
    mirror(sweep, True)
    assert not isinstance(mirror, Guard)
    assert not (finished / "mlflow.db").exists()


class Recorder:
    """Stands for a Mirror: takes every cell but those that it refuses."""

    uri = "sqlite:///x"

    def __init__(self, *refused: str) -> None:
        self.refused, self.taken, self.ended = refused, [], []  # type: ignore[var-annotated]

    def open_parent(self, cells: Any, command: Any) -> None:
        pass

    def update(self, cell: Cell, folder: Path, status: str, *rest: Any, **named: Any) -> bool:
        if cell.name in self.refused:
            raise MlflowException("no")
        self.taken.append((cell.name, status))
        return True

    def close_parent(self, status: str) -> None:
        self.ended.append(status)

    def forget(self) -> None:
        pass


def test_a_cell_that_mlflow_refuses_keeps_no_other_out(cell: Cell) -> None:
    cells = [cell.named(name) for name in ("a", "b", "c")]
    sweep, mirror = Sweep(STAGES["train"], cells), Recorder("a")
    guard = Guard(SweepMirror(mirror, sweep, []))  # type: ignore[arg-type]
    guard(sweep, False)
    assert mirror.taken == [("b", "FINISHED"), ("c", "FINISHED")]
    guard(sweep, True)
    assert mirror.taken == [("b", "FINISHED"), ("c", "FINISHED")]
    assert mirror.ended == ["FINISHED"]


def test_a_failed_cell_is_told_once(cell: Cell, tmp_path: Path) -> None:
    runtime = cell.settings.runtime.model_copy(update={"store": str(tmp_path)})
    failed = Cell(cell.settings.model_copy(update={"runtime": runtime}))
    sweep, mirror = Sweep(STAGES["train"], [failed]), Recorder()
    sweep.note_error(failed, JobError("ValueError: why"))
    watching = SweepMirror(mirror, sweep, [])  # type: ignore[arg-type]
    for last in (False, False, True):
        watching(sweep, last)
    assert mirror.taken == [(cell.name, "FAILED")]
    assert mirror.ended == ["FAILED"]


def test_a_mirror_rests_in_proportion_to_its_work(cell: Cell) -> None:
    sweep, calls = Sweep(STAGES["train"], [cell]), []

    class Slow:
        mirror = Recorder()

        def __call__(self, sweep: Sweep, last: bool) -> None:
            calls.append(last)
            time.sleep(0.05)

    guard = Guard(Slow())  # type: ignore[arg-type]
    for last in (False, False, True):
        guard(sweep, last)
    assert calls == [False, True]
