"""A cell killed with SIGKILL at any moment, again and again, ends with the bytes of one that never was."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest
from omegaconf import OmegaConf

from processes import PROJECT, Start, Started, folder_with_data, run
from vae_likelihoods.files import sha256

OBJECTIVES = sorted(path.stem for path in (PROJECT / "conf" / "objective").glob("*.yaml"))
# Pixels drawn afresh every epoch, a likelihood with a parameter of its own, training that stops early.
CELL = [
    *("likelihood=gaussian_learned", "levels=2", "binarize=stochastic", "latent_dim=2", "tracking=none"),
    *("training.epochs=60", "training.patience=8", "training.grid_epochs=5", "optimizer.lr=1.0"),
    *("training.batch_size=32", "training.schedule=constant", "metric.bound.samples=500"),
]
# Where a process is caught: as soon as there is a new file of this name, in the store or where results are
# laid out; a name with a dot in front is that of a file which is being written.
EVERY_EPOCH = ["grids/.samples-*", "grids/.reconstructions-*", ".history.csv.*", ".checkpoint.pt.*"]
AT_THE_END = {
    "train": [
        *(".model.safetensors.*", "model.safetensors", ".samples.png.*", ".reconstructions.png.*"),
        *(".DONE.*", "DONE", ".*.partial", ".*.partial/new/*"),
    ],
    "evaluate": [
        *(".metrics.json.*", ".per_image.csv.*", "per_image.csv", ".latents.png.*"),
        *(".DONE.*", "DONE", ".*.partial", ".*.partial/new/*"),
    ],
}
LAID_OUT = {"train": "runs", "evaluate": "evaluations"}


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    return folder_with_data(prepared_root, tmp_path)


def settings(objective: str) -> list[str]:
    """Return the settings of a cell with this objective, and with KL warm-up if the objective has it."""
    config = OmegaConf.load(PROJECT / "conf" / "objective" / f"{objective}.yaml")
    warmup = ["objective.warmup_epochs=6"] if "warmup_epochs" in config else []
    return [*CELL, f"objective={objective}", *warmup]


class Victim:
    """A stage for one cell that is killed and started again.

    Args:
        start: starts a stage.
        stage: train or evaluate.
        root: the folder of all results, with the data.
        overrides: the cell.
    """

    def __init__(self, start: Start, stage: str, root: Path, overrides: list[str]) -> None:
        self.start, self.stage, self.root, self.overrides = start, stage, root, overrides
        self.before = set(root.glob(".cells/*"))
        self.kills = 0
        self.resumed = 0  # how many of the kills left a checkpoint

    @property
    def entries(self) -> list[Path]:
        """The new folders in the store: one of a training; of an evaluation one more for each metric."""
        return sorted(set(self.root.glob(".cells/*")) - self.before)

    def undisturbed(self) -> tuple[dict[str, str], float]:
        """Run it once; return its results and how many seconds it took; then remove the results."""
        process = self._begin()
        began = time.monotonic()
        process.end(code=0)
        results, seconds = self.results(), time.monotonic() - began
        self.forget()
        return results, seconds

    def results(self) -> dict[str, str]:
        """Return the hashes of all files of the cell in the study and in the store, by name."""
        stored: dict[Path, str] = {}
        for entry in self.entries:
            done = json.loads((entry / "DONE").read_text())
            stored |= {entry / name: digest for name, digest in done.items()}
        assert stored
        assert {path: sha256(path) for path in stored} == stored
        (laid_out,) = (self.root / LAID_OUT[self.stage] / "scratch").glob("[!.]*")
        copies = {path: sha256(path) for path in laid_out.rglob("*") if path.is_file()}
        hashes = {**stored, **copies}
        return {str(path.relative_to(self.root)): digest for path, digest in hashes.items()}

    def forget(self) -> None:
        """Remove all results, so that the next process starts from nothing."""
        for entry in self.entries:
            shutil.rmtree(entry)
        shutil.rmtree(self.root / LAID_OUT[self.stage])

    def kill(self, moment: float | str) -> bool:
        """Run it for some seconds, or until a file appears; kill it; return whether it was alive."""
        if isinstance(moment, float):
            process = self._begin()
            with suppress(subprocess.TimeoutExpired):
                process.process.wait(moment)
        else:
            before = self._files(moment)
            process = self._begin()
            while process.alive and self._files(moment) <= before:
                time.sleep(0.0002)
        with suppress(ProcessLookupError):
            process.send(SIGKILL, group=True)
        code = process.process.wait()
        assert code in (0, -SIGKILL), process.output
        self.kills += code != 0
        self.resumed += code != 0 and self.checkpoint
        return code != 0

    def _files(self, pattern: str) -> set[Path]:
        """Return the files of this pattern."""
        laid_out = (self.root / LAID_OUT[self.stage] / "scratch").glob(pattern)
        return {*laid_out, *(path for entry in self.entries for path in entry.glob(pattern))}

    def _begin(self) -> Started:
        """Start it and wait until it works on the cell, when it writes identity.json again."""
        identities = self._identities()
        process = self.start(self.stage, self.root, *self.overrides)
        while process.alive and self._identities() == identities:
            time.sleep(0.001)  # not less: others need the processor
        return process

    def _identities(self) -> set[int]:
        identities: set[int] = set()
        for entry in self.entries:
            with suppress(FileNotFoundError):
                identities.add((entry / "identity.json").stat().st_ino)
        return identities

    @property
    def epochs(self) -> int:
        """How many epochs the history has."""
        history = next(self.root.glob(".cells/*/history.csv"), None)
        return len(history.read_text().splitlines()) - 1 if history else 0

    @property
    def checkpoint(self) -> bool:
        """Whether the next process can continue from a checkpoint."""
        return any((entry / "checkpoint.pt").exists() for entry in self.entries)

    def survive(self, moments: Sequence[float | str], expected: dict[str, str]) -> None:
        """Kill it at these moments; whenever it finishes, its results must be the expected ones."""
        for moment in moments:
            epochs = self.epochs if self.checkpoint else 0
            if not self.kill(moment):
                assert self.results() == expected
                self.forget()
            elif "runtime.checkpoint_seconds=0" in self.overrides:
                assert self.epochs >= epochs  # else it started from nothing
        run(self.stage, self.root, *self.overrides)
        assert self.results() == expected


def delays(random: Random, count: int, seconds: float) -> list[float]:
    return [random.uniform(0, seconds) for _ in range(count)]


def test_a_cell_that_was_killed_ends_with_the_same_bytes(root: Path, start: Start) -> None:
    victim = Victim(start, "train", root, [*settings("elbo"), "runtime.checkpoint_seconds=0"])
    expected, _ = victim.undisturbed()
    victim.survive(["grids/samples-0005.png", "DONE"], expected)
    assert victim.resumed == 1
    assert 8 < victim.epochs < 60  # it stopped early


@pytest.mark.faults
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_cell_killed_at_every_moment_ends_with_the_same_bytes(
    root: Path, start: Start, objective: str
) -> None:
    victim = Victim(start, "train", root, [*settings(objective), "runtime.checkpoint_seconds=0"])
    expected, seconds = victim.undisturbed()
    random = Random(objective)
    moments = [*delays(random, 8, seconds), *EVERY_EPOCH]
    random.shuffle(moments)
    victim.survive([*moments, *AT_THE_END["train"]], expected)
    assert victim.kills >= 10
    assert victim.resumed >= 5
    assert 8 < victim.epochs < 60  # it stopped early
    print(f"killed {victim.kills} times, with a checkpoint {victim.resumed} times")


@pytest.mark.faults
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_cell_killed_between_two_checkpoints_ends_with_the_same_bytes(
    root: Path, start: Start, objective: str
) -> None:
    victim = Victim(start, "train", root, [*settings(objective), "runtime.checkpoint_seconds=0.2"])
    expected, seconds = victim.undisturbed()
    victim.survive(delays(Random(objective), 5, seconds / 2), expected)
    assert victim.kills >= 2
    assert victim.resumed >= 1
    print(f"killed {victim.kills} times, with a checkpoint {victim.resumed} times")


@pytest.mark.faults
def test_an_evaluation_killed_at_every_moment_ends_with_the_same_numbers(root: Path, start: Start) -> None:
    run("train", root, *settings("elbo"))
    victim = Victim(start, "evaluate", root, settings("elbo"))
    expected, seconds = victim.undisturbed()
    victim.survive([*delays(Random(0), 5, seconds), *AT_THE_END["evaluate"]], expected)
    assert victim.kills >= 6
    print(f"killed {victim.kills} times")
