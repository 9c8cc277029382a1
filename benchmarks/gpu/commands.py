"""Run the stages of pipelines/ within a limit of time, and read the files that they write."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Result:
    """How a stage ended."""

    code: int
    output: str
    seconds: float

    @property
    def failure(self) -> str:
        """The exit code and the last line; empty if the stage succeeded."""
        lines = self.output.strip().splitlines()[-1:] or ["no output"]
        return f"exit code {self.code}: {lines[0][:200]}" if self.code else ""


@dataclass
class Commands:
    """Stages with their results in a folder of their own.

    Args:
        root: folder of data/, runs/ and the store.
        out: where the output of failed stages goes.
        settings: overrides of every stage.
        seconds: limit for all stages together.
    """

    root: Path
    out: Path
    settings: list[str]
    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.began + self.seconds - time.monotonic()

    def start(self, stage: str, *overrides: str) -> subprocess.Popen[str]:
        """Start a stage in a process group of its own."""
        script = str(Path.cwd() / "pipelines" / f"{stage}.py")
        command = [sys.executable, script, *overrides, *self.settings, f"runtime.root='{self.root}'"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def run(self, stage: str, *overrides: str) -> Result:
        """Run a stage to its end, or until no time is left."""
        began = time.monotonic()
        process = self.start(stage, *overrides)
        try:
            output, _ = process.communicate(timeout=max(1, self.left))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output = process.communicate()[0] + "\nno time is left"
        if process.returncode:
            log = self.out / f"failed-{stage}-{int(began - self.began)}s.log"
            log.write_text(f"{stage} {' '.join(overrides)}\n{output}")
        return Result(process.returncode, output, time.monotonic() - began)

    def scores(self, study: str) -> dict[str, float]:
        """Return the last validation bits/dim of each cell."""
        files = (self.root / "runs" / study).glob("*/history.csv")
        return {path.parent.name: float(rows(path)[-1]["val_bits_per_dim"]) for path in files}

    def weights(self, study: str) -> bytes:
        """Return the weights of the one cell of a study."""
        (path,) = (self.root / "runs" / study).glob("*/model.safetensors")
        return path.read_bytes()

    def timings(self, since: float = 0) -> list[dict[str, str]]:
        """Return the epochs of all cells that were trained since then, without the first of each cell."""
        files = [path for path in self.root.glob(".cells/*/timings.csv") if path.stat().st_mtime > since]
        return [row for path in files for row in rows(path)[1:]]

    def images_per_second(self, since: float) -> float:
        """Return the median speed of these epochs."""
        return statistics.median(float(row["images_per_second"]) for row in self.timings(since))


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open() as handle:
        return list(csv.DictReader(handle))


class Utilisation(threading.Thread):
    """What nvidia-smi says of the first GPU, twice a second, while the `with` block runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float]] = []  # percent, MiB
        self.ended = threading.Event()

    def __enter__(self) -> Utilisation:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        """Take samples; none where there is no nvidia-smi."""
        query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        while shutil.which("nvidia-smi") and not self.ended.wait(0.5):
            process = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, check=False)
            numbers = [float(word) for word in process.stdout.split("\n")[0].split(",") if word.strip()]
            if len(numbers) == 2:
                self.samples.append((numbers[0], numbers[1]))

    def __str__(self) -> str:
        if not self.samples:
            return "GPU not measured"
        busy, memory = zip(*self.samples, strict=True)
        return f"GPU {statistics.mean(busy):.0f} % busy, {max(memory):.0f} MiB"
