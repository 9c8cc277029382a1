"""Two drivers at once, of the same grid: in one study and in two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vae_likelihoods.files import hashes
from vae_likelihoods.upkeep.inventory import inventory

PROJECT = Path(__file__).parents[2]
GRID = ["-m", "likelihood=binomial,gaussian", "latent_dim=2,3"]
SMALL = [
    *("dataset=digits", "network.hidden=[16]", "training.epochs=3", "training.grid_epochs=1"),
    *("runtime.device=cpu", "runtime.cells_at_once=1", "metric.bound.samples=4", "tracking=none"),
]
CELLS = {"binomial-2-0", "binomial-3-0", "gaussian-2-0", "gaussian-3-0"}
pytestmark = pytest.mark.faults


def at_once(stage: str, root: Path, *studies: str) -> list[str]:
    """Run a driver for each of `studies` at the same time; return what they printed."""
    script = str(PROJECT / "pipelines" / f"{stage}.py")
    drivers = [
        subprocess.Popen(
            [sys.executable, script, *GRID, *SMALL, f"study={study}", f"runtime.root='{root}'"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        for study in studies
    ]  # fmt: skip
    try:
        printed = [driver.communicate(timeout=240)[0] for driver in drivers]
    finally:
        for driver in drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
    assert [driver.returncode for driver in drivers] == [0] * len(drivers), "\n".join(printed)
    return printed


def whole(root: Path, folder: str) -> None:
    """Check that every cell lies there as the store has it, and nothing else does."""
    results = [item.entry.files() for item in inventory(root / ".cells")[0] if item.state == "done"]
    laid_out = {path.name: hashes(path) for path in (root / folder).iterdir()}
    assert laid_out.keys() == CELLS
    assert all(any(files.items() <= cell.items() for files in results) for cell in laid_out.values())


@pytest.mark.parametrize("studies", [("same", "same"), ("one", "other")])
def test_every_cell_is_laid_out_whole_for_both(
    prepared_root: Path, tmp_path: Path, studies: tuple[str, str]
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    at_once("train", tmp_path, *studies)
    assert len(list((tmp_path / ".cells").iterdir())) == len(CELLS)
    for path in (tmp_path / ".cells").glob("*/timings.csv"):  # one at a time trained it
        assert [line.partition(",")[0] for line in path.read_text().splitlines()] == ["epoch", "1", "2", "3"]
    for study in studies:
        whole(tmp_path, f"runs/{study}")
    for printed in at_once("train", tmp_path, *studies):
        assert "4 taken from the store" in printed
    at_once("evaluate", tmp_path, *studies)
    for study in studies:
        whole(tmp_path, f"runs/{study}")
        whole(tmp_path, f"evaluations/{study}")
