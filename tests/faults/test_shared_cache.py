"""A shared cache: what one machine computed, another takes from a folder or from S3."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from mlflow_names import EPOCH_METRICS

pytestmark = pytest.mark.faults

PROJECT = Path(__file__).parents[2]
SMALL = """
    dataset: digits
    levels: 17
    latent_dim: 2
    seed: 0
    options: >-
      network.hidden=[16] training.epochs=3 training.grid_epochs=2
      metric=[bound,latents,reconstruction] metric.bound.samples=4 runtime.device=cpu runtime.cells_at_once=1
"""
PARAMS = f"""
datasets: [digits]
studies:
  binary:
    likelihood: binomial,gaussian{SMALL}
  grey:
    likelihood: beta_binomial{SMALL}
optional: {{}}
"""
STAGES = [
    *("download@digits", "prepare@digits", "train@binary", "train@grey", "evaluate@binary", "evaluate@grey"),
    "report",
]
CELLS = {"binary": ["binomial-2-0", "gaussian-2-0"], "grey": ["beta_binomial-2-0"]}
A_CELL = 2 + 3  # results in the store: training, evaluation, and what each of three metrics measured
PICTURES = [f"{kind}-{epoch}" for kind in ("reconstructions", "samples") for epoch in (0, 2, 3)]


@dataclass(frozen=True)
class Shared:
    """Where results are shared: a DVC remote and a place for cells, and what reaching them takes."""

    remote: str
    cells: str
    endpoint: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        if self.endpoint is None:
            return {}
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        return {**keys, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.endpoint}


def run(project: Path, *command: str, **variables: str) -> str:
    """Run a Python command in a clone with the clone's own source; return what it printed."""
    ours = ("VAE_LIKELIHOODS_", "MLFLOW_", "AWS_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(
        [".venv/bin/python", *command],
        cwd=project,
        env={**inherited, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def git(project: Path, *command: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(
        ["git", *who, *command], cwd=project, capture_output=True, text=True, check=True
    ).stdout


def stages(output: str, message: str) -> list[str]:
    """Return the stages of which DVC said this."""
    return [match[1] for line in output.splitlines() if (match := re.match(rf".*'(\S+)'{message}", line))]


def ran(output: str) -> list[str]:
    return re.findall(r"^Running stage '(\S+)'", output, re.MULTILINE)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with two small studies, computed and committed, on the machine that shares them."""
    root = tmp_path_factory.mktemp("first machine") / "project"
    for name in git(PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if (PROJECT / name).is_file() and not name.endswith("dvc.lock"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, root / name)
    (root / "params.yaml").write_text(PARAMS)
    (root / ".venv").symlink_to(Path(sys.executable).parents[1])
    git(root, "init", "--quiet")
    assert sorted(ran(run(root, "-m", "dvc", "repro", MLFLOW_TRACKING_URI="none"))) == sorted(STAGES)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Compute the studies")
    return root


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an S3 server on 127.0.0.1 that has an empty bucket, `bucket`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 60
        while not answers(port):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.1)
        requests.put(f"http://127.0.0.1:{port}/bucket", timeout=30).raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module", params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Everything that the first machine has, pushed."""
    if request.param == "folder":
        folder = tmp_path_factory.mktemp("shared")
        place = Shared(str(folder / "dvc"), str(folder / "cells"))
    else:
        place = Shared("s3://bucket/dvc", "s3://bucket/cells", request.getfixturevalue("bucket"))
    run(first, "-m", "dvc", "remote", "add", "--force", "--default", "shared", place.remote)
    if place.endpoint is not None:
        run(first, "-m", "dvc", "remote", "modify", "shared", "endpointurl", place.endpoint)
    git(first, "commit", "--quiet", "--all", "--message", f"Share the results: {request.param}")
    assert "files pushed" in run(first, "-m", "dvc", "push", "--run-cache", **place.environment)
    pushed = run(first, "-m", "vae_likelihoods", "cells", "push", place.cells, **place.environment)
    assert f"{3 * A_CELL} pushed, 0 were there" in pushed
    return place


def clone(first: Path, folder: Path) -> Path:
    """A fresh clone: no data, no results, an empty cache and an empty store."""
    subprocess.run(["git", "clone", "--quiet", str(first), str(folder)], check=True)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    return folder


@pytest.fixture
def second(first: Path, shared: Shared, tmp_path: Path) -> Path:
    """Another machine, after `dvc pull --run-cache`."""
    project = clone(first, tmp_path / "second machine")
    run(project, "-m", "dvc", "pull", "--run-cache", **shared.environment)
    return project


def test_what_was_pulled_is_not_computed_again(second: Path) -> None:
    output = run(second, "-m", "dvc", "repro")
    assert stages(output, " didn't change, skipping") == STAGES
    assert ran(output) == []

    for name in ("data", "runs", "evaluations", "reports"):
        shutil.rmtree(second / name)
    (second / "dvc.lock").unlink()
    output = run(second, "-m", "dvc", "repro")
    *computed, report = STAGES  # its files are in git, so DVC's cache has not all of them
    assert stages(output, " is cached - skipping run") == computed
    assert ran(output) == [report]
    again = ["dvc.lock", *(f"reports/{name}" for name in ("summary.csv", "table.md", "figures", "plots"))]
    assert git(second, "status", "--porcelain", "--", *again) == ""
    assert not (second / ".cells").exists()


def query(project: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project / "mlflow.db")) as database:
        return database.execute(statement).fetchall()


def runs(project: Path) -> Counter[tuple[str, str]]:
    return Counter(query(project, "select name, status from runs where lifecycle_stage = 'active'"))


def finished(*names: str) -> dict[tuple[str, str], int]:
    return {(name, "FINISHED"): 1 for name in names}


def metrics_of(project: Path, cell: str) -> Counter[tuple[str, int, float]]:
    rows = query(
        project,
        f"select key, step, value from metrics join runs using (run_uuid) where name = '{cell}'",
    )
    return Counter(rows)


def expected_metrics(project: Path, study: str, cell: str) -> Counter[tuple[str, int, float]]:
    """What the files say: the numbers of every epoch, and the headline of the evaluation."""
    with (project / "runs" / study / cell / "history.csv").open() as handle:
        epochs = {
            (metric, int(row["epoch"]), float(row[column])): 1
            for row in csv.DictReader(handle)
            for column, metric in EPOCH_METRICS.items()
        }
    evaluation = json.loads((project / "evaluations" / study / cell / "metrics.json").read_text())
    return Counter({**epochs, ("test/bpd", 0, evaluation["bits_per_dim"]): 1})


def pictures_of(project: Path, study: str, cell: str) -> list[str]:
    [(identifier,)] = query(project, f"select run_uuid from runs where name = '{cell}'")
    images = project / "mlartifacts" / study / identifier / "artifacts" / "images"
    matches = (re.match(r"(\w+)\+step\+(\d+)\+.*\.png", path.name) for path in images.iterdir())
    return sorted(f"{match[1]}-{match[2]}" for match in matches if match)


def test_sync_fills_an_empty_mlflow_from_what_was_pulled_and_twice_is_once(second: Path) -> None:
    once = {**finished("binary sweep", "grey sweep"), **finished(*CELLS["binary"], *CELLS["grey"])}
    for _ in range(2):
        assert "sync: binary, 2 cells" in run(second, "-m", "vae_likelihoods", "sync")
        assert runs(second) == once
        for study, cells in CELLS.items():
            for cell in cells:
                logged, expected = metrics_of(second, cell), expected_metrics(second, study, cell)
                assert len(expected) == 3 * len(EPOCH_METRICS) + 1
                assert {mark: logged[mark] for mark in expected} == expected
                assert pictures_of(second, study, cell) == PICTURES


def test_a_study_that_is_extended_trains_only_the_new_cell(second: Path, shared: Shared) -> None:
    pulled = run(second, "-m", "vae_likelihoods", "cells", "pull", shared.cells, **shared.environment)
    assert f"{3 * A_CELL} pulled, 0 were here" in pulled
    params = (second / "params.yaml").read_text()
    (second / "params.yaml").write_text(params.replace("binomial,gaussian\n", "binomial,gaussian,laplace\n"))
    output = run(second, "-m", "dvc", "repro")
    assert ran(output) == ["train@binary", "evaluate@binary", "report"]
    assert "train binary: 1 done, 2 taken from the store" in output
    assert "evaluate binary: 1 done, 2 taken from the store" in output
    assert runs(second) == finished("binary sweep", *CELLS["binary"], "laplace-2-0")
    pushed = run(second, "-m", "vae_likelihoods", "cells", "push", shared.cells, **shared.environment)
    assert f"{A_CELL} pushed, {3 * A_CELL} were there" in pushed


def test_machines_with_one_file_system_share_the_store(first: Path, tmp_path: Path) -> None:
    third = clone(first, tmp_path / "third machine")
    store = {"VAE_LIKELIHOODS_STORE": str(first / ".cells"), "MLFLOW_TRACKING_URI": "none"}
    output = run(third, "-m", "dvc", "repro", "evaluate@binary", **store)
    assert ran(output) == ["download@digits", "prepare@digits", "train@binary", "evaluate@binary"]
    assert "train binary: 2 taken from the store" in output
    assert "evaluate binary: 2 taken from the store" in output
    assert git(third, "status", "--porcelain", "--", "dvc.lock") == ""
    assert not (third / ".cells").exists()
