"""`make gc` beside real sweeps: what they use is kept, what they left is listed and dropped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vae_likelihoods.upkeep.inventory import inventory

PROJECT = Path(__file__).parents[2]
GRID = [
    *("-m", "likelihood=binomial,gaussian", "dataset=digits", "levels=17", "network.hidden=[16]"),
    *(
        "tracking=none",
        "runtime.device=cpu",
        "runtime.cells_at_once=1",
        "metric=[bound,latents,reconstruction]",
    ),
    "metric.bound.samples=4",
]
METRICS = ("bound", "latents", "reconstruction")
SHORT, LONG = "training.epochs=1", "training.epochs=100000"
pytestmark = pytest.mark.faults


def run(name: str, *arguments: str) -> str:
    stage = str(PROJECT / "pipelines" / f"{name}.py")
    command = ["-m", "vae_likelihoods", name] if name == "gc" else [stage]
    done = subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def training(root: Path) -> Iterator[None]:
    """A sweep that never ends, killed at the end of the block."""
    command = [sys.executable, str(PROJECT / "pipelines" / "train.py"), *GRID, f"runtime.root='{root}'"]
    driver = subprocess.Popen(
        [*command, "study=long", LONG, "runtime.checkpoint_seconds=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(root, "checkpoint.pt")
        yield
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def wait_for(root: Path, name: str) -> None:
    end = time.monotonic() + 120
    while not any((root / ".cells").glob(f"*/{name}")):
        assert time.monotonic() < end, f"there is no {name}"
        time.sleep(0.1)


def listed(output: str) -> set[tuple[str, str]]:
    """Return name and state of every line of the table."""
    rows = [re.split(r"  +", line.strip()) for line in output.splitlines()]
    return {(row[2], row[3]) for row in rows if row[1:2] in (["training"], ["evaluation"], ["measurement"])}


def names(root: Path) -> list[str]:
    entries, _ = inventory(root / ".cells")
    assert {entry.state for entry in entries} == {"done"}
    return sorted(entry.name for entry in entries)


def test_what_sweeps_use_is_kept_and_what_they_left_is_dropped(tiny_root: Path) -> None:
    place = ["--root", str(tiny_root), "--params", str(tiny_root / "params.yaml")]
    for stage in ("train", "evaluate"):
        run(stage, *GRID, f"runtime.root='{tiny_root}'", SHORT)
    before = names(tiny_root)
    cells = ("binomial-2-0", "binomial-8-0", "gaussian-2-0", "gaussian-8-0")
    assert before == sorted(
        [
            *cells,
            *(f"{cell} {metric}" for cell in cells for metric in METRICS),
            *("scratch/binomial-8-0", "scratch/gaussian-8-0", "tiny/binomial-2-0", "tiny/gaussian-2-0"),
        ]
    )
    with training(tiny_root):
        assert listed(run("gc", *place, "--drop")) == set()
    assert listed(run("gc", *place)) == {("binomial-8-0", "half done")}  # its process is dead
    for folder in ("runs", "evaluations"):
        shutil.rmtree(tiny_root / folder / "scratch" / "gaussian-8-0")
    left = ("gaussian-8-0", "scratch/gaussian-8-0", *(f"gaussian-8-0 {metric}" for metric in METRICS))
    gone = {(name, "done") for name in left}
    assert listed(run("gc", *place, "--drop")) == gone | {("binomial-8-0", "half done")}
    assert names(tiny_root) == sorted({*before} - {name for name, _ in gone})
    again = run("train", *GRID, f"runtime.root='{tiny_root}'", SHORT)
    assert "1 done, 1 taken from the store" in again
