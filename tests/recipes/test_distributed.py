"""A cell on several processes has the losses of one process, and survives the death of any of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.files import sha256
from vae_likelihoods.models.vae import Rows, standard_normal
from vae_likelihoods.recipes.distributed import LostProcessError, share, train_together
from vae_likelihoods.recipes.training import train
from vae_likelihoods.seeding import generator
from vae_likelihoods.training.trainer import EpochRecord, NonFiniteLossError

MakeCell = Callable[..., Cell]
RESULTS = ("history.csv", "model.safetensors", "samples.png", "reconstructions.png")


def nothing(record: EpochRecord) -> None:
    pass


def hashes(folder: Path) -> dict[str, str]:
    return {name: sha256(folder / name) for name in RESULTS}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 128])
def test_every_image_is_computed_by_one_process(count: int, size: int) -> None:
    indices = [index for rank in range(size) for index in range(count)[share(count, rank, size)]]
    assert indices == list(range(count))


@pytest.mark.parametrize("shape", [(7, 3), (2, 7, 3)])
def test_the_noise_of_a_share_is_that_of_the_whole_batch(shape: tuple[int, ...]) -> None:
    whole = standard_normal(shape, generator(0, "noise"))
    rows = slice(2, 5)
    part = standard_normal((*shape[:-2], 3, 3), Rows(generator(0, "noise"), rows, 7))
    assert torch.equal(part, whole[..., rows, :])


@pytest.mark.parametrize(
    "settings",
    [
        ("objective=elbo", "objective.warmup_epochs=2", "likelihood=gaussian_learned", "runtime.processes=2"),
        ("objective=iwae", "levels=2", "binarize=stochastic", "likelihood=bernoulli", "runtime.processes=3"),
        # The last batch has fewer images than there are processes.
        ("training.batch_size=COUNT-1", "runtime.processes=2"),
    ],
)
def test_the_curves_are_those_of_one_process(
    small_cell: MakeCell, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    count = small_cell().data.count("train")
    chosen = [setting.replace("COUNT-1", str(count - 1)) for setting in settings]
    cell = small_cell(*chosen, "training.matmul=highest", "training.epochs=3")
    names = train(cell, tmp_path / "alone", nothing)
    epochs: list[int] = []
    assert sorted(
        train_together(cell, tmp_path / "together", lambda record: epochs.append(record.epoch))
    ) == sorted(names)
    assert epochs == [1, 2, 3]
    alone, together = (pd.read_csv(tmp_path / name / "history.csv") for name in ("alone", "together"))
    pd.testing.assert_frame_equal(alone, together, rtol=1e-4)


def test_a_loss_that_is_not_finite_is_reported_as_in_one_process(
    small_cell: MakeCell, tmp_path: Path
) -> None:
    cell = small_cell("runtime.processes=2", "likelihood=gaussian_learned", "optimizer.lr=1e30")
    with pytest.raises(NonFiniteLossError, match="in epoch 1, step"):
        train_together(cell, tmp_path, nothing)


def processes_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_a_process_that_dies_is_named_and_training_goes_on_from_the_checkpoint(
    small_cell: MakeCell, tmp_path: Path
) -> None:
    cell = small_cell("runtime.processes=2", "training.epochs=6")
    train_together(cell, tmp_path / "whole", nothing)

    def kill_one(record: EpochRecord) -> None:
        if record.epoch == 3:
            (other,) = multiprocessing.active_children()
            other.kill()

    with pytest.raises(LostProcessError, match=r"of 2 processes, these ended: 1 \(exit code -9\)"):
        train_together(cell, tmp_path / "killed", kill_one)
    epochs: list[int] = []
    train_together(cell, tmp_path / "killed", lambda record: epochs.append(record.epoch))
    assert epochs == [4, 5, 6]
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_a_process_that_cannot_start_is_named_at_once(small_cell: MakeCell, tmp_path: Path) -> None:
    cell = small_cell("runtime.processes=3")
    with pytest.raises(LostProcessError, match=r"of 3 processes, these ended: .*2 \(exit code 1\)"):
        train_together(cell, tmp_path, nothing, gpus=(0, -1, 1000))  # there is no GPU 1000


def test_a_worker_of_joblib_starts_processes_too(small_cell: MakeCell, tmp_path: Path) -> None:
    cell = small_cell("runtime.processes=2")
    train_together(cell, tmp_path / "here", nothing)
    Parallel(n_jobs=2)([delayed(train_together)(cell, tmp_path / "worker", [].append)])
    get_reusable_executor().shutdown()
    assert hashes(tmp_path / "worker") == hashes(tmp_path / "here")


@pytest.mark.faults
def test_when_the_first_process_is_killed_the_others_end_and_it_goes_on(
    prepared_root: Path, tmp_path: Path
) -> None:
    project = Path(__file__).parents[2]
    command = [
        *(sys.executable, str(project / "pipelines" / "train.py"), "dataset=digits", "tracking=none"),
        *("network.hidden=[16]", "runtime.processes=2", "runtime.device=cpu", "runtime.checkpoint_seconds=0"),
        *("training.grid_epochs=1", "training.epochs=12"),
    ]
    results = {}
    for name in ("whole", "killed"):
        root = tmp_path / name
        root.mkdir()
        (root / "data").symlink_to(prepared_root / "data")
        own = [*command, f"runtime.root={root}"]
        if name == "killed":
            process = subprocess.Popen(own, start_new_session=True)
            try:
                end = time.monotonic() + 120
                while not any(root.glob(".cells/*/checkpoint.pt")):
                    assert time.monotonic() < end
                    time.sleep(0.02)
                others = processes_of(process.pid)
                assert others
                os.kill(process.pid, signal.SIGKILL)
                _, alive = psutil.wait_procs(others, timeout=60)
                assert not alive
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        subprocess.run(own, check=True, timeout=240)
        (results[name],) = (hashes(folder) for folder in root.glob("runs/scratch/*"))
    assert results["whole"] == results["killed"]
