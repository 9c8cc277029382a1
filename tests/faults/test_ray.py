"""Sweeps on a Ray that they start themselves, and on a cluster of two nodes of which one dies."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from processes import folder_with_data, runs
from vae_likelihoods.store.entry import Entry

pytestmark = pytest.mark.faults

PROJECT = Path(__file__).parents[2]
ENGINE = "hydra.launcher.engine"
INTERRUPTED = "\ninterrupted; the same command goes on where it stopped\n"
SMALL = [
    *("dataset=digits", "network.hidden=[16]", "training.grid_epochs=1000", "runtime.device=cpu"),
    *("runtime.checkpoint_seconds=0", "metric.bound.samples=4"),
]
Value = TypeVar("Value")
Start = Callable[[list[str], dict[str, str]], subprocess.Popen[str]]


# Processes


def environment(**more: str) -> dict[str, str]:
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    return {**mine, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command in a session of its own, which is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
            # A shell ignores Ctrl-C for background processes, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        kill(session(process))
        process.communicate()


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def session(leader: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the live processes of a session, which Ray's workers do not leave."""
    processes = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader.pid and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


def wait_for(
    condition: Callable[[], Value], during: subprocess.Popen[str] | None = None, seconds: float = 120
) -> Value:
    """Wait until `condition` returns something true, and return it; `during` must not end before."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert during is None or during.poll() is None, during.communicate()[0]
        assert time.monotonic() < end, "the condition was never true"
        time.sleep(0.1)
    return value


def output_of(process: subprocess.Popen[str], code: int, seconds: float = 240) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, output
    return output


# A sweep and its files


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    return folder_with_data(prepared_root, tmp_path)


def train(root: Path, *overrides: str) -> list[str]:
    script = str(PROJECT / "pipelines" / "train.py")
    return [sys.executable, script, "-m", *overrides, f"runtime.root='{root}'", *SMALL]


def results(root: Path) -> dict[str, bytes]:
    """Return the bytes of every file in runs/."""
    folder = root / "runs" / "scratch"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begun(root: Path) -> list[Path]:
    """Return the folders of cells that have finished an epoch, in the order in which they began."""
    folders = [path.parent for path in (root / ".cells").glob("*/timings.csv")]
    return sorted(folders, key=lambda folder: (folder / "identity.json").stat().st_mtime_ns)


def computing(processes: Iterable[psutil.Process]) -> dict[Path, int]:
    """Return the folders of cells with a checkpoint, and which of `processes` has locked each."""
    locked = {}
    for process in processes:
        with suppress(psutil.Error):
            locks = [Path(file.path) for file in process.open_files() if file.path.endswith("/lock")]
            locked |= {lock.parent: process.pid for lock in locks if lock.with_name("checkpoint.pt").exists()}
    return locked


# Ray for one sweep


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for Ray's sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_sweep_starts_ray_and_ends_it(root: Path, temporary: Path, start: Start) -> None:
    grid = ["hydra/launcher=ray", "likelihood=gaussian_learned", "latent_dim=2", "training.epochs=3"]
    options = ["optimizer.lr=1e-3,1e30", "tracking=none"]
    driver = start(train(root, *grid, *options), environment(RAY_TMPDIR=str(temporary)))
    wait_for(lambda: "raylet" in {process.name() for process in session(driver)}, during=driver)
    output = output_of(driver, code=1)
    assert "1 done, 1 failed" in output
    assert "the loss is not finite in epoch 1, step" in output
    assert "Traceback" not in output
    assert "gaussian_learned-2-0-lr=0.001/model.safetensors" in results(root)
    wait_for(lambda: not session(driver))


def test_a_cell_whose_worker_was_killed_is_lost_and_not_failed(
    root: Path, temporary: Path, start: Start
) -> None:
    grid = ["hydra/launcher=ray", "likelihood=binomial,gaussian", "latent_dim=2", "training.epochs=60"]
    options = [f"{ENGINE}.max_retries=0", "tracking=none"]
    driver = start(train(root, *grid, *options), environment(RAY_TMPDIR=str(temporary)))
    victim, *_ = wait_for(lambda: computing(session(driver)), during=driver).values()
    os.kill(victim, signal.SIGKILL)
    output = output_of(driver, code=0)
    assert output.count("a cell was lost") == 1
    assert "2 done" in output
    wait_for(lambda: not session(driver))


def test_sigterm_ends_the_cells_and_ray(root: Path, temporary: Path, start: Start) -> None:
    grid = ["hydra/launcher=ray", "likelihood=binomial", "latent_dim=2,3", "training.epochs=1000000"]
    driver = start(train(root, *grid, "tracking=none"), environment(RAY_TMPDIR=str(temporary)))
    wait_for(lambda: begun(root), during=driver)
    driver.terminate()
    assert output_of(driver, code=143).endswith(INTERRUPTED)
    wait_for(lambda: not session(driver))


# A cluster


@dataclass
class Cluster:
    """A Ray cluster in a network namespace of its own, that of the process `network`."""

    network: int
    env: dict[str, str]
    start: Start
    address = "127.0.0.1:6379"

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.network}/ns/net", *command]

    def node(self, *options: str) -> subprocess.Popen[str]:
        ray = str(Path(sys.executable).with_name("ray"))
        return self.start(self.inside(ray, "start", "--block", "--disable-usage-stats", *options), self.env)

    def nodes(self) -> int:
        """Return how many nodes are alive."""
        script = f"import ray; ray.init('{self.address}'); print(sum(n['Alive'] for n in ray.nodes()))"
        process = subprocess.run(
            self.inside(sys.executable, "-c", script),
            capture_output=True,
            text=True,
            env={**self.env, "RAY_gcs_server_port_wait_time_s": "1"},
            timeout=120,
            check=False,
        )
        return int(process.stdout or 0)

    def train(self, root: Path, *overrides: str) -> subprocess.Popen[str]:
        where = ["hydra/launcher=ray", f"{ENGINE}.address={self.address}"]
        return self.start(self.inside(*train(root, *where, *overrides)), self.env)


@pytest.fixture
def cluster(temporary: Path, start: Start) -> Cluster:
    """A cluster of one node with one CPU and a pretended GPU."""
    for tool, package in {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}.items():
        if shutil.which(tool) is None:
            pytest.fail(f"needs {tool}, of the Debian package {package}")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.fail("needs root, and the right to make a network namespace")
    script = "ip link set lo up && echo up && exec sleep 3600"
    network = start(["unshare", "--net", "sh", "-c", script], environment())
    assert network.stdout is not None
    assert network.stdout.readline() == "up\n"
    (temporary / "token").write_text(secrets.token_hex(32))
    env = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(temporary / "token"))
    cluster = Cluster(network.pid, env, start)
    head = cluster.node(
        *("--head", "--node-ip-address=127.0.0.1", "--port=6379", f"--temp-dir={temporary}"),
        *("--num-cpus=1", "--num-gpus=1", "--include-dashboard=false"),
    )
    wait_for(lambda: cluster.nodes() == 1, during=head)
    return cluster


def test_a_node_dies_and_its_cells_go_on_elsewhere(
    cluster: Cluster, root: Path, prepared_root: Path, tmp_path: Path, start: Start
) -> None:
    second = cluster.node(f"--address={cluster.address}", "--node-ip-address=127.0.0.2", "--num-cpus=1")
    wait_for(lambda: cluster.nodes() == 2, during=second)
    grid = ["likelihood=binomial,gaussian,beta_binomial", "latent_dim=2,3", "training.epochs=60"]
    driver = cluster.train(root, *grid)
    interrupted = wait_for(lambda: computing(session(second)), during=driver)
    before = {folder: (folder / "timings.csv").read_text() for folder in interrupted}
    os.killpg(second.pid, signal.SIGKILL)
    kill(session(second))  # its workers, which are in process groups of their own
    assert not any(Entry(folder).finished for folder in before)
    assert "6 done" in output_of(driver, code=0)
    for folder, text in before.items():
        timings = (folder / "timings.csv").read_text()
        assert timings.startswith(text)
        assert timings.count("\n1,") == 1  # it did not start again

    other = folder_with_data(prepared_root, tmp_path / "other")
    undisturbed = train(other, *grid, "tracking=none", f"runtime.store={tmp_path / 'store'}")
    output_of(start(undisturbed, environment()), code=0)
    assert results(root) == results(other)
    names = {f"{family}-{size}-0" for family in ("binomial", "gaussian", "beta_binomial") for size in (2, 3)}
    assert {Path(name).parts[0] for name in results(root)} == names
    assert runs(root) == {(name, "FINISHED"): 1 for name in (*names, "scratch sweep")}


def test_cells_share_a_gpu_and_an_interrupt_ends_them_but_not_the_cluster(
    cluster: Cluster, root: Path
) -> None:
    grid = ["likelihood=binomial", "latent_dim=2,3", f"{ENGINE}.num_cpus=0.5", "tracking=none"]
    endless = cluster.train(root, *grid, "training.epochs=1000000", f"{ENGINE}.num_gpus=0.5")
    both = wait_for(lambda: begun(root) if len(begun(root)) == 2 else [], during=endless)
    os.killpg(endless.pid, signal.SIGINT)
    assert output_of(endless, code=130).endswith(INTERRUPTED)
    wait_for(lambda: not any(Entry(folder).busy for folder in both))

    in_turn = cluster.train(root, *grid, "training.epochs=60", f"{ENGINE}.num_gpus=1")
    assert "2 done" in output_of(in_turn, code=0)
    first, second = (folder for folder in begun(root) if folder not in both)
    assert (first / "DONE").stat().st_mtime_ns < (second / "identity.json").stat().st_mtime_ns
