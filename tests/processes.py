"""Run commands as users do, in processes that may be killed, and read their files and MLflow."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

PROJECT = Path(__file__).parents[1]
GRID = ["likelihood=binomial,gaussian", "latent_dim=2,3"]
SMALL = [
    *("dataset=digits", "network.hidden=[16]", "training.epochs=3", "training.grid_epochs=1"),
    *("runtime.device=cpu", "runtime.cells_at_once=2"),
    *("metric=[bound,latents,reconstruction]", "metric.bound.samples=4"),
]
PATIENCE_SECONDS = 600  # for work that takes some seconds on an idle machine


def folder_with_data(prepared_root: Path, tmp_path: Path) -> Path:
    """Return a folder of results that has only the prepared digits."""
    shutil.copytree(prepared_root / "data", tmp_path / "with space" / "data")
    return tmp_path / "with space"


def command(stage: str, root: Path, *overrides: str) -> list[str]:
    script = str(PROJECT / "pipelines" / f"{stage}.py")
    keys = {override.partition("=")[0] for override in overrides}
    defaults = [setting for setting in SMALL if setting.partition("=")[0] not in keys]
    return [sys.executable, script, *overrides, f"runtime.root='{root}'", *defaults]


def environment() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return {**inherited, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


class Started:
    """A command in a process group of its own."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                arguments,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
                # A shell ignores Ctrl-C for background processes, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.pid = self.process.pid

    @property
    def output(self) -> str:
        """What it has printed so far, on both streams."""
        return self.log.read_text()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int, group: bool = False) -> None:
        """Send a signal to the process, or to its whole process group."""
        (os.killpg if group else os.kill)(self.pid, number)

    def end(self, code: int | None = None) -> str:
        """Wait for its end; check its exit code if one is given; return its output."""
        exit_code = self.process.wait(PATIENCE_SECONDS)
        assert code is None or exit_code == code, self.output
        return self.output

    def workers(self) -> list[psutil.Process]:
        """Return joblib's workers, first the one with the most CPU time."""
        seconds = {}
        children = psutil.Process(self.pid).children(recursive=True) if self.alive else []
        for child in children:
            with suppress(psutil.NoSuchProcess):
                if "popen_loky" in " ".join(child.cmdline()):
                    seconds[child] = child.cpu_times().user
        return sorted(seconds, key=lambda child: -seconds[child])


Start = Callable[..., Started]


@contextmanager
def starting() -> Iterator[Start]:
    """Yield a function that starts a stage; its processes are killed at the end."""
    started: list[Started] = []
    with TemporaryDirectory() as logs:

        def begin(stage: str, root: Path, *overrides: str, within: Sequence[str] = ()) -> Started:
            log = Path(logs, str(len(started)))
            started.append(Started([*within, *command(stage, root, *overrides)], log))
            return started[-1]

        yield begin
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.process.wait()


def run(
    stage: str, root: Path, *overrides: str, code: int = 0, within: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*within, *command(stage, root, *overrides)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment(),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def rows(root: Path, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(root / "mlflow.db") as database:
        return database.execute(query).fetchall()


def runs(root: Path) -> Counter[tuple[str, str]]:
    """Return how many of MLflow's runs have a name and a status."""
    states = rows(root, "select name, status from runs where lifecycle_stage = 'active'")
    return Counter(states)  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was never true"
        time.sleep(0.02)


def trained(root: Path, study: str = "scratch") -> set[str]:
    return {path.parent.name for path in (root / "runs" / study).glob("*/model.safetensors")}


def all_four(status: str = "FINISHED") -> dict[tuple[str, str], int]:
    names = ("binomial-2-0", "binomial-3-0", "gaussian-2-0", "gaussian-3-0")
    return {(name, status): 1 for name in names}
