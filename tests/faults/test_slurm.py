"""Sweeps on a real SLURM of one node: jobs are cancelled, requeued and timed out, and drivers die."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).parents[2]
PROGRAMS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
MISSING = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module", autouse=True)
def _can_run() -> None:
    if MISSING:
        pytest.fail(f"needs the Debian packages {', '.join(MISSING)}")
    if os.geteuid() != 0:
        pytest.fail("needs root, because SLURM's daemons are started as root")


CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=3 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""  # cred_expire: how many seconds, and not 120, a requeued job waits

SMALL = [
    *("hydra/launcher=slurm", "dataset=digits", "likelihood=binomial", "network.hidden=[16]"),
    *("training.epochs=250", "training.grid_epochs=1000"),
    *("runtime.device=cpu", "runtime.checkpoint_seconds=0"),
    *("hydra.launcher.engine.timeout_min=10", "hydra.launcher.engine.signal_delay_s=120"),
]
"""Cells of a few seconds; with this time limit submitit takes every signal for a time-out."""


UNWANTED = ("MLFLOW_TRACKING_URI", "VAE_LIKELIHOODS_STORE")


class Cluster:
    """A SLURM of one node with three CPUs, on the loopback interface and in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        # This SLURM has no accounting: squeue answers for sacct.
        path = f"{Path(__file__).parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
        variables = {key: value for key, value in os.environ.items() if key not in UNWANTED}
        self.env = {
            **variables,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": path,
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(host=host, folder=self.folder, ports=free_ports(2))
        (self.folder / "slurm.conf").write_text(text)
        files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        places = [f"--{option}={self.folder}/munge.{option.partition('-')[0]}" for option in files]
        self._daemon("munged", "--foreground", "--force", *places)
        wait_for((self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D", "-i")
        self._daemon("slurmd", "-D")
        wait_for(lambda: self.ask("sinfo", "--noheader", "--format=%T").strip() == "idle")

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("w") as output:
            self.daemons.append(
                subprocess.Popen(command, env=self.env, stdout=output, stderr=output, start_new_session=True)
            )

    def stop(self) -> None:
        try:
            self.cancel_all()
        finally:
            for daemon in reversed(self.daemons):
                os.killpg(daemon.pid, signal.SIGTERM)
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(daemon.pid, signal.SIGKILL)
                    daemon.wait(20)
            for process in psutil.process_iter(["environ"]):
                if (process.info["environ"] or {}).get("SLURM_CONF") == self.env["SLURM_CONF"]:
                    process.kill()

    def cancel_all(self) -> None:
        self.ask("scancel", "--user=root")
        wait_for(lambda: not self.states())

    def ask(self, *command: str) -> str:
        """Return the output of one of SLURM's programs; empty if it fails."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def do(self, *command: str) -> None:
        subprocess.run(command, env=self.env, capture_output=True, timeout=60, check=True)

    def states(self) -> dict[str, str]:
        """Return the state of every job that is waiting, running or ending."""
        lines = self.ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared_root / "data", tmp_path / "with space" / "data")
    return tmp_path / "with space"


@pytest.fixture
def start(cluster: Cluster, root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a driver in a process group of its own; drivers and jobs are ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*overrides: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(root, *overrides),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=cluster.env,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    cluster.cancel_all()


def command(root: Path, *overrides: str) -> list[str]:
    keys = {override.partition("=")[0] for override in overrides}
    rest = [setting for setting in SMALL if setting.partition("=")[0] not in keys]
    script = str(PROJECT / "pipelines" / "train.py")
    return [sys.executable, script, "-m", *overrides, f"runtime.root='{root}'", *rest]


def finish(driver: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = driver.communicate(timeout=600)
    assert driver.returncode == code, output
    return output


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was never true"
        time.sleep(0.05)


def entry(root: Path, latent_dim: int) -> Path | None:
    """Return the folder of the store in which the cell with `latent_dim` is computed."""
    for path in (root / ".cells").glob("*/identity.json"):
        if json.loads(path.read_text())["settings"]["latent_dim"] == latent_dim:
            return path.parent
    return None


def begun(root: Path, latent_dim: int) -> bool:
    """Return whether the cell has a checkpoint."""
    folder = entry(root, latent_dim)
    return folder is not None and (folder / "checkpoint.pt").exists()


def timings(root: Path, latent_dim: int) -> list[tuple[str, ...]]:
    """Return the rows of a cell's timings.csv: one for each time that an epoch was trained."""
    folder = entry(root, latent_dim)
    assert folder is not None
    with (folder / "timings.csv").open() as handle:
        return [tuple(row) for row in csv.reader(handle)][1:]


def started_once(root: Path, latent_dim: int) -> bool:
    """Return whether the cell started once: its first epoch was trained once."""
    return [epoch for epoch, *_ in timings(root, latent_dim)].count("1") == 1


def rows(root: Path, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def runs(root: Path) -> Counter[tuple[str, str]]:
    """Return name and status of MLflow's runs; none while there is no database."""
    if not (root / "mlflow.db").exists() or not rows(root, "select 1 from sqlite_master where name = 'runs'"):
        return Counter()
    return Counter(rows(root, "select name, status from runs where lifecycle_stage = 'active'"))  # type: ignore[arg-type]


def weights(root: Path) -> dict[str, str]:
    paths = (root / "runs" / "scratch").glob("*/model.safetensors")
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def after_the_first_checkpoint(
    root: Path, acts: dict[int, Callable[[], None]]
) -> dict[int, list[tuple[str, ...]]]:
    """Run each action once its cell has a checkpoint; return the timings of the cells before it."""
    before: dict[int, list[tuple[str, ...]]] = {}

    def look() -> bool:
        for latent_dim, act in acts.items():
            if latent_dim not in before and begun(root, latent_dim):
                before[latent_dim] = timings(root, latent_dim)
                act()
        return before.keys() == acts.keys()

    wait_for(look)
    return before


def process_of(root: Path, task: int) -> psutil.Process:
    """Return the process that computes the job of this number in its array."""
    (process,) = (
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["cmdline"] or [""])[0] == sys.executable
        and str(root) in process.info["cmdline"][-1]
        and (process.info["environ"] or {}).get("SLURM_ARRAY_TASK_ID") == str(task)
    )
    return process


def log_of(root: Path, job: str) -> str:
    (folder,) = {path.parent for path in (root / "logs" / "slurm").glob(f"*/{job}_0_log.out")}
    return "".join((folder / f"{job}_0_log.{ending}").read_text() for ending in ("out", "err"))


def test_cancelled_requeued_and_timed_out_cells_go_on_from_their_checkpoints(
    cluster: Cluster, root: Path, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    quiet = tmp_path / "undisturbed"
    shutil.copytree(root / "data", quiet / "data")
    grid = "latent_dim=2,3,4,5,6,7"
    undisturbed = subprocess.run(
        command(quiet, grid, "hydra/launcher=joblib", "runtime.cells_at_once=2", "tracking=none")[:-2],
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert undisturbed.returncode == 0, undisturbed.stderr

    driver = start(grid)
    wait_for(cluster.states)
    array = next(iter(cluster.states())).partition("_")[0]
    cancelled, requeued, timed_out = (f"{array}_{task}" for task in range(3))

    def let_time_out() -> None:
        job = process_of(root, 2)
        # It must not finish before its time is up; SLURM sends SIGCONT with its signal.
        job.suspend()
        # Leave more than a minute, so that SLURM can send the signal, and less than signal_delay_s.
        minutes = int((time.time() - job.create_time()) // 60) + 2
        cluster.do("scontrol", "update", f"JobId={timed_out}", f"TimeLimit={minutes}")

    before = after_the_first_checkpoint(
        root,
        {
            2: lambda: cluster.do("scancel", cancelled),
            3: lambda: cluster.do("scontrol", "requeue", requeued),
            4: let_time_out,
        },
    )
    wait_for(lambda: "Requeued job" in log_of(root, timed_out))
    cluster.do("scontrol", "update", f"JobId={timed_out}", "TimeLimit=10")
    output = finish(driver)

    assert "6 done" in output
    assert f"SLURM job {cancelled} was lost: CANCELLED" in output
    assert log_of(root, cancelled).count("Starting with") == 1
    assert log_of(root, requeued).count("Starting with") == 2
    assert log_of(root, timed_out).count("Starting with") == 2
    assert "this job is timed-out" in log_of(root, timed_out)
    for latent_dim, rows in before.items():
        after = timings(root, latent_dim)
        assert after[: len(rows)] == rows
        assert started_once(root, latent_dim)
        assert len(rows) < 250
        # An epoch that was timed and not yet in the checkpoint has two rows.
        assert [int(row[0]) for row in dict.fromkeys(row[:1] for row in after)] == list(range(1, 251))
        assert len(after) <= 252
    names = [f"binomial-{latent_dim}-0" for latent_dim in range(2, 8)]
    finished = {(name, "FINISHED"): 1 for name in [*names, "scratch sweep"]}
    assert runs(root) == finished
    assert weights(root) == weights(quiet)
    assert sorted(weights(root)) == names


def test_the_jobs_of_a_killed_driver_go_on_and_the_same_command_finds_their_cells(
    cluster: Cluster, root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    grid, names = "latent_dim=2,3", ["binomial-2-0", "binomial-3-0", "scratch sweep"]
    driver = start(grid)
    processes: list[psutil.Process] = []

    def freeze(task: int) -> None:
        processes.append(process_of(root, task))
        processes[-1].suspend()  # until a second job waits for its lock

    after_the_first_checkpoint(root, {2: lambda: freeze(0), 3: lambda: freeze(1)})
    wait_for(lambda: runs(root) == {(name, "RUNNING"): 1 for name in names})
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait(30)
    jobs = cluster.states()
    assert set(jobs.values()) == {"RUNNING"}
    again = start(grid)
    wait_for(lambda: "RUNNING" in {state for job, state in cluster.states().items() if job not in jobs})
    for process in processes:
        process.resume()
    assert "2 done" in finish(again)
    for latent_dim in (2, 3):  # by the first job alone
        assert [int(epoch) for epoch, *_ in timings(root, latent_dim)] == list(range(1, 251))
    assert runs(root) == {(name, "FINISHED"): 1 for name in names}
    assert sorted(weights(root)) == names[:2]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_driver_cancels_its_jobs(
    cluster: Cluster, root: Path, start: Callable[..., subprocess.Popen[str]], stop: signal.Signals
) -> None:
    driver = start("latent_dim=2,3")
    after_the_first_checkpoint(root, {2: lambda: None, 3: lambda: None})
    array = next(iter(cluster.states())).partition("_")[0]
    os.killpg(driver.pid, stop)
    output = finish(driver, code=128 + stop)
    assert f"cancelled the SLURM job {array}" in output
    assert output.splitlines()[-1] == "interrupted; the same command goes on where it stopped"
    wait_for(lambda: not cluster.states())
    assert "RUNNING" not in {status for _, status in runs(root)}


def test_a_time_out_that_is_one_too_many_is_no_failure_of_the_cell(
    cluster: Cluster, root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    driver = start("latent_dim=2", "hydra.launcher.engine.max_num_timeout=0")
    jobs: list[str] = []

    def announce() -> None:
        jobs.extend(cluster.states())
        cluster.do("scancel", "--signal=USR2", *jobs)

    before = after_the_first_checkpoint(root, {2: announce})
    output = finish(driver)
    assert f"SLURM job {jobs[0]} was lost: FAILED" in output
    assert "1 done" in output
    assert timings(root, 2)[: len(before[2])] == before[2]
    assert started_once(root, 2)
    assert runs(root) == {(name, "FINISHED"): 1 for name in ("binomial-2-0", "scratch sweep")}
    assert not rows(root, "select value from tags where key = 'error'")


def test_a_cancelled_cell_of_several_processes_is_lost_and_not_failed(
    cluster: Cluster, root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    driver = start("latent_dim=2", "runtime.processes=2", "hydra.launcher.engine.cpus_per_task=2")
    before = after_the_first_checkpoint(root, {2: lambda: cluster.do("scancel", *cluster.states())})
    output = finish(driver)
    assert "was lost: CANCELLED" in output
    assert "1 done" in output
    assert timings(root, 2)[: len(before[2])] == before[2]
    assert started_once(root, 2)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (
            ["partition=nope"],
            ["hydra.launcher.engine.partition=nope: is not a partition of this cluster. Choices: all."],
        ),
        (["mem_gb=1000000"], ["hydra.launcher.engine=", "'mem_gb': 1000000", "SLURM did not take the jobs"]),
        (["setup='module load x'"], ["hydra.launcher.engine.setup=module load x: must be a list"]),
        (["timeout_min=0"], ["hydra.launcher.engine.timeout_min=0: must be a whole number, at least 1."]),
        (["timeout_min=3"], ["hydra.launcher.engine.timeout_min=3: SLURM may tell a cell to stop 3 minutes"]),
    ],
)
def test_settings_that_slurm_cannot_meet_are_one_clear_error(
    root: Path, start: Callable[..., subprocess.Popen[str]], overrides: list[str], parts: list[str]
) -> None:
    output = finish(start("latent_dim=2,3", *(f"hydra.launcher.engine.{each}" for each in overrides)), code=1)
    for part in parts:
        assert part in output
    assert "Traceback" not in output
    assert "broke down" not in output


def test_a_slurm_without_accounting_is_refused(
    cluster: Cluster, root: Path, start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cluster.env, "PATH", os.environ["PATH"])
    output = finish(start("latent_dim=2,3"), code=1)
    assert "sacct does not answer (Slurm accounting storage is disabled)" in output
    assert "Traceback" not in output
    assert [path.name for path in root.iterdir()] == ["data"]
