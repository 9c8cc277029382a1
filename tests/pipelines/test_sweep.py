"""Sweeps as users run them: real processes, a real database, workers and drivers that really die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parents[2]
GRID = ["likelihood=binomial,gaussian", "latent_dim=2,3"]
SMALL = [
    *("dataset=digits", "network.hidden=[16]", "training.epochs=3", "training.grid_epochs=1"),
    *("runtime.device=cpu", "runtime.cells_at_once=2", "metric.bound.samples=4"),
]


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared_root / "data", tmp_path / "with space" / "data")
    return tmp_path / "with space"


def command(stage: str, root: Path, *overrides: str) -> list[str]:
    script = str(PROJECT / "pipelines" / f"{stage}.py")
    said = {override.partition("=")[0] for override in overrides}
    rest = [setting for setting in SMALL if setting.partition("=")[0] not in said]
    return [sys.executable, script, *overrides, f"runtime.root='{root}'", *rest]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "", "PYTHONWARNINGS": "default"}


def run(stage: str, root: Path, *overrides: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in environment().items() if value}
    done = subprocess.run(
        command(stage, root, *overrides), capture_output=True, text=True, timeout=240, env=env, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a stage in a process group of its own; whatever is left of it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(stage: str, root: Path, *overrides: str) -> subprocess.Popen[str]:
        env = {key: value for key, value in environment().items() if value}
        process = subprocess.Popen(
            command(stage, root, *overrides),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
            # A shell ignores Ctrl-C for what it runs in the background, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def rows(root: Path, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(root / "mlflow.db") as database:
        return database.execute(query).fetchall()


def runs(root: Path) -> Counter[tuple[str, str]]:
    return Counter(rows(root, "select name, status from runs where lifecycle_stage = 'active'"))  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def trained(root: Path, study: str = "scratch") -> set[str]:
    return {path.parent.name for path in (root / "runs" / study).glob("*/model.safetensors")}


def all_four(status: str = "FINISHED") -> dict[tuple[str, str], int]:
    names = ("binomial-2-0", "binomial-3-0", "gaussian-2-0", "gaussian-3-0")
    return {(name, status): 1 for name in names}


def test_a_grid_is_trained_tracked_evaluated_and_trained_only_once(root: Path) -> None:
    first = run("train", root, "-m", *GRID)
    assert "4 done" in first.stdout
    assert trained(root) == {"binomial-2-0", "binomial-3-0", "gaussian-2-0", "gaussian-3-0"}
    assert runs(root) == {**all_four(), ("scratch sweep", "FINISHED"): 1}
    children = "select count(*) from tags where key = 'mlflow.parentRunId'"
    assert rows(root, children) == [(4,)]
    assert rows(
        root, "select min(n), max(n) from (select count(*) n from metrics group by run_uuid, key)"
    ) == [(3, 3)]
    params = "select distinct key from params join runs using (run_uuid) where name like '%-0'"
    assert {key for (key,) in rows(root, params)} == {"likelihood", "latent_dim", "seed"}
    (images,) = {
        len(list(folder.glob("*.png")))
        for folder in (root / "mlartifacts" / "scratch").glob("*/artifacts/images")
    }
    assert images == 8  # both grids at epochs 0, 1, 2, 3

    again = run("train", root, "-m", *GRID)
    assert "4 taken from the store" in again.stdout
    assert runs(root) == {**all_four(), ("scratch sweep", "FINISHED"): 1}

    (root / "runs" / "scratch" / "binomial-2-0" / "model.safetensors").unlink()
    wider = run("train", root, "-m", "likelihood=binomial,gaussian,beta_binomial", "latent_dim=2,3")
    assert "2 done, 4 taken from the store" in wider.stdout
    assert len(trained(root)) == 6

    scored = run("evaluate", root, "-m", *GRID)
    assert "4 done" in scored.stdout
    metrics = json.loads((root / "evaluations/scratch/binomial-2-0/metrics.json").read_text())
    query = "select value from metrics join runs using (run_uuid) where name = 'binomial-2-0'"
    found = rows(root, f"{query} and key = 'test/bpd'")
    assert found == [(metrics["bits_per_dim"],)]
    assert not [name for name, status in runs(root) if status == "RUNNING"]


def test_keys_that_a_sweep_varies_beyond_the_axes_are_in_the_names(root: Path) -> None:
    run("train", root, "-m", "likelihood=binomial", "network.hidden=[8],[8,8]", "levels=2,17")
    assert trained(root) == {
        f"binomial-8-0-levels={levels}-hidden={hidden}" for levels in (2, 17) for hidden in ("8", "8,8")
    }


def test_a_killed_worker_costs_nothing(root: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    grid = ["likelihood=binomial,gaussian", "latent_dim=2,3", "training.epochs=40", "tracking=none"]
    driver = start("train", root, "-m", *grid)
    wait_for(lambda: any((root / ".cells").glob("*/timings.csv")))
    victim = worker_of(driver.pid)
    os.kill(victim, signal.SIGKILL)
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    assert "the workers broke down" in output
    assert len(trained(root)) == 4


def worker_of(driver: int) -> int:
    """Return the process id of a loky worker that computes right now."""
    workers = [
        process
        for process in psutil.Process(driver).children(recursive=True)
        if "popen_loky" in " ".join(process.cmdline())
    ]
    return max(workers, key=lambda process: process.cpu_times().user).pid


def test_a_killed_driver_leaves_a_sweep_that_goes_on(
    root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    grid = [*GRID, "training.epochs=30", "runtime.checkpoint_seconds=0"]
    driver = start("train", root, "-m", *grid)
    wait_for(lambda: (root / "mlflow.db").exists() and any((root / ".cells").glob("*/checkpoint.pt")))
    wait_for(lambda: len(rows(root, "select name from sqlite_master where name = 'runs'")) == 1)
    wait_for(lambda: ("scratch sweep", "RUNNING") in runs(root))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(30)
    done = run("train", root, "-m", *grid)
    assert "failed" not in done.stdout
    assert len(trained(root)) == 4
    assert runs(root) == {**all_four(), ("scratch sweep", "FINISHED"): 1}


def test_a_cell_that_fails_lets_the_others_finish(root: Path) -> None:
    grid = ["likelihood=binomial,gaussian_learned", "latent_dim=2", "optimizer.lr=1e-3,1e30"]
    done = run("train", root, "-m", *grid, code=1)
    assert "2 done, 2 failed" in done.stdout
    assert "the loss is not finite in epoch 1, step" in done.stdout
    assert "Traceback" not in done.stderr
    statuses = Counter(status for (_, status) in runs(root).elements())
    assert statuses == {"FINISHED": 2, "FAILED": 3}  # two cells and their parent
    assert trained(root) == {"binomial-2-0-lr=0.001", "gaussian_learned-2-0-lr=0.001"}


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["latent_dims=2"], ["latent_dims"]),
        (["likelihood=poisson"], ["poisson", "beta_binomial", "gaussian_learned"]),
        (["likelihood=bernoulli"], ["likelihood=bernoulli", "levels=17", "beta_binomial, binomial"]),
        (["latent_dim=0"], ["latent_dim=0", "greater than or equal to 1"]),
        (["training.epochs=-1"], ["training.epochs=-1", "greater than or equal to 1"]),
        (["dataset=mnist"], ["dataset=mnist", "pipelines/download.py dataset=mnist"]),
        (["-m", "likelihood=binomial,bernoulli"], ["likelihood=bernoulli", "levels=17"]),
        (["-m", "latent_dim=8,0"], ["latent_dim=0", "greater than or equal to 1"]),
        (["-m", "seed=0,1", "latent_dims=2"], ["latent_dims"]),
        (["-m", "seed=0,1", "tracking.uri=ftp://x"], ["tracking.uri=ftp://x", "postgresql"]),
    ],
)
def test_bad_settings_are_one_clear_error_before_anything_is_done(
    prepared_root: Path, tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    done = run("train", tmp_path, *overrides, code=1)
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_an_interrupt_is_one_line_and_the_same_command_goes_on(
    root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    grid = ["likelihood=binomial", "latent_dim=2,3", "training.epochs=60", "tracking=none"]
    driver = start("train", root, "-m", *grid)
    wait_for(lambda: any((root / ".cells").glob("*/timings.csv")))
    os.killpg(driver.pid, signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert output.splitlines()[-1] == "interrupted; the same command goes on where it stopped"
    run("train", root, "-m", *grid)
    assert len(trained(root)) == 2
