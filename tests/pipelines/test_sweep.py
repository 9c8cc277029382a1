"""Sweeps as users run them: real processes, a real database, workers and drivers that really die."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from processes import GRID, Start, all_four, folder_with_data, rows, run, runs, trained, wait_for
from vae_likelihoods.files import hashes
from vae_likelihoods.sweeps.names import LONGEST


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    return folder_with_data(prepared_root, tmp_path)


def test_a_grid_is_trained_tracked_evaluated_and_trained_only_once(root: Path) -> None:
    first = run("train", root, "-m", *GRID)
    counts, heading, *ranking, following = first.stdout.splitlines()
    assert "4 done" in counts
    assert heading == "validation bits/dim on digits at 17 levels, best first:"
    assert {line.split()[1] for line in ranking} == {
        "binomial-2-0",
        "binomial-3-0",
        "gaussian-2-0",
        "gaussian-3-0",
    }
    assert following.startswith(f"next: .venv/bin/python pipelines/evaluate.py -m {' '.join(GRID)} ")
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
    assert "next: .venv/bin/python pipelines/report.py --study scratch" in scored.stdout
    metrics = json.loads((root / "evaluations/scratch/binomial-2-0/metrics.json").read_text())
    query = "select value from metrics join runs using (run_uuid) where name = 'binomial-2-0'"
    logged = rows(root, f"{query} and key = 'test/bpd'")
    assert logged == [(metrics["bits_per_dim"],)]
    assert not [name for name, status in runs(root) if status == "RUNNING"]


def test_keys_that_a_sweep_varies_beyond_the_axes_are_in_the_names(root: Path) -> None:
    run(
        "train", root, "-m", "likelihood=binomial", "network.hidden=[8],[8,8]", "levels=2,17", "tracking=none"
    )
    assert trained(root) == {
        f"binomial-8-0-levels={levels}-hidden={hidden}" for levels in (2, 17) for hidden in ("8", "8,8")
    }


def test_cells_have_the_same_names_however_they_are_launched(root: Path) -> None:
    """Hydra may hand over one cell at a time: each batch alone would vary nothing."""
    rates, usual = "optimizer.lr=1e-3,1e-2", ["likelihood=gaussian", "latent_dim=2", "tracking=none"]
    one = "training.epochs=1"
    run("train", root, "-m", *usual, rates, one, "hydra.sweeper.max_batch_size=1")
    assert trained(root) == {"gaussian-2-0-lr=0.001", "gaussian-2-0-lr=0.01"}

    refused = run("train", root, "-m", *usual, rates, one, "study=basic", "hydra/launcher=basic", code=1)
    assert "hydra/launcher=basic: gives the cells of a sweep no names. Choices: joblib, ray" in refused.stderr
    assert not (root / "runs" / "basic").exists()


def test_a_result_of_other_settings_is_not_replaced(root: Path) -> None:
    usual = ["likelihood=gaussian", "latent_dim=2", "tracking=none", "training.epochs=1"]
    run("train", root, *usual, "optimizer.lr=1e-3")
    before = hashes(root / "runs")
    for words in ([], ["-m"]):
        refused = run("train", root, *words, *usual, "optimizer.lr=1e-2", code=1)
        assert "runs/scratch/gaussian-2-0 was trained with optimizer.lr=0.001, this is" in refused.stderr
        assert "take another name (study=...)" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert hashes(root / "runs") == before


def test_a_name_is_no_longer_than_a_file_name_may_be(root: Path) -> None:
    widths = ",".join(["4"] * 90)
    usual = ["likelihood=gaussian", "latent_dim=2", "tracking=none", "training.epochs=1"]
    run("train", root, "-m", *usual, f"network.hidden=[{widths}],[{widths},4]")
    names = trained(root)
    assert len(names) == 2
    assert max(map(len, names)) <= LONGEST


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(root: Path, start: Start) -> None:
    grid = ["likelihood=binomial,gaussian", "latent_dim=2,3", "training.epochs=40", "tracking=none"]
    driver = start("train", root, "-m", *grid)
    wait_for(lambda: any((root / ".cells").glob("*/timings.csv")))
    os.kill(driver.workers()[0].pid, signal.SIGKILL)
    assert "the workers broke down" in driver.end(code=0)
    assert len(trained(root)) == 4


def test_a_killed_driver_leaves_a_sweep_that_goes_on(root: Path, start: Start) -> None:
    grid = [*GRID, "training.epochs=30", "runtime.checkpoint_seconds=0"]
    driver = start("train", root, "-m", *grid)
    wait_for(lambda: (root / "mlflow.db").exists() and any((root / ".cells").glob("*/checkpoint.pt")))
    wait_for(lambda: ("scratch sweep", "RUNNING") in runs(root))
    driver.send(signal.SIGKILL, group=True)
    driver.end(code=-signal.SIGKILL)
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
        (["latent_dim=0"], ["latent_dim=0", "must be at least 1"]),
        (["training.epochs=-1"], ["training.epochs=-1", "must be at least 1"]),
        (["dataset=mnist"], ["dataset=mnist", "pipelines/download.py dataset=mnist"]),
        (["-m", "likelihood=binomial,bernoulli"], ["likelihood=bernoulli", "levels=17"]),
        (["-m", "latent_dim=8,0"], ["latent_dim=0", "must be at least 1"]),
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


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, True), pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow)],
)
def test_an_interrupt_is_one_table_and_one_line_and_the_same_command_goes_on(
    root: Path, start: Start, number: signal.Signals, group: bool
) -> None:
    grid = ["likelihood=binomial", "latent_dim=2,3", "training.epochs=60", "tracking=none"]
    driver = start("train", root, "-m", *grid)
    wait_for(lambda: any((root / ".cells").glob("*/timings.csv")))
    workers = driver.workers()
    driver.send(number, group)
    lines = driver.end(code=128 + number).splitlines()
    assert lines[-1] == "interrupted; the same command goes on where it stopped"
    assert [line for line in lines if line.startswith("train scratch: ")] == lines[-4:-3]
    assert [line.split(":")[1] for line in lines[-3:-1]] == [" interrupted", " interrupted"]
    wait_for(lambda: not any(worker.is_running() for worker in workers))
    run("train", root, "-m", *grid)
    assert len(trained(root)) == 2
