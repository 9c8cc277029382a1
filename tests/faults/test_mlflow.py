"""MLflow under load and in trouble: many workers and drivers, servers that die, answers that are lost.

Real processes and real servers on 127.0.0.1. In the end MLflow has what the files say, and once.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_names import EPOCH_METRICS, TEST_METRICS
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.tracking import grids
from vae_likelihoods.tracking.mirror import Mirror

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]  # MLflow's warnings

PROJECT = Path(__file__).parents[2]
SMALL = [
    *("dataset=digits", "network.hidden=[16]", "training.epochs=3", "training.grid_epochs=1"),
    *("runtime.device=cpu", "runtime.cells_at_once=2", "metric.bound.samples=4"),
]
TWO = ["likelihood=binomial,gaussian", "latent_dim=2"]
FOUR = ["likelihood=binomial,gaussian", "latent_dim=2,3"]
SIXTEEN = [*FOUR, "seed=0,1,2,3", "runtime.cells_at_once=16"]
UNFINISHED = "MLflow at"  # how the one warning begins
PATIENCE_SECONDS = 900.0  # for what is certain to come about, on a busy machine


# Processes


def environment(**more: str) -> dict[str, str]:
    """The environment of a child; MLflow has checks of its own for what runs under pytest."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    return {**variables, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default", **more}


class Started:
    """Processes in groups of their own; what is left of them is killed at the end."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[str]] = []

    def __call__(self, command: Sequence[str], log: Path | None = None, **env: str) -> subprocess.Popen[str]:
        out = subprocess.PIPE if log is None else log.open("a")
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**env),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        """End the whole group at once: a server's parent alone would leave its workers serving."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)

    def end(self) -> None:
        for process in self.processes:
            self.kill(process)
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    started.end()


@pytest.fixture(scope="module")
def start_for_all() -> Iterator[Started]:
    started = Started()
    yield started
    started.end()


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared_root / "data", tmp_path / "root" / "data")
    return tmp_path / "root"


def stage(name: str, root: Path, *overrides: str) -> list[str]:
    keys = {override.partition("=")[0] for override in overrides}
    rest = [setting for setting in SMALL if setting.partition("=")[0] not in keys]
    return [
        *(sys.executable, str(PROJECT / "pipelines" / f"{name}.py"), "-m"),
        *(*overrides, f"runtime.root={root}", *rest),
    ]


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == code, output
    return output


def sync(start: Started, root: Path, uri: str) -> None:
    command = [sys.executable, "-m", "vae_likelihoods", "sync", "--root", str(root), "--uri", uri]
    finish(start(command))


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """An MLflow server on 127.0.0.1 that stores artifacts for its clients.

    Args:
        start: what starts processes.
        folder: of its database, unless `store` is another, and of its artifacts.
        store: the address of its database.
        workers: its processes.
    """

    start: Started
    folder: Path
    store: str = ""
    workers: int = 1
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def up(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", self.store or f"sqlite:///{self.folder / 'server.db'}"),
            *("--artifacts-destination", str(self.artifacts), "--workers", str(self.workers)),
        ]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.process = self.start(command, self.folder / "server.log", PYTHONWARNINGS="ignore", **quiet)
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def down(self) -> None:
        """Kill it and its workers."""
        assert self.process is not None
        self.start.kill(self.process)


@pytest.fixture(scope="module")
def server(start_for_all: Started, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with an sqlite database, for all tests of this module; each leaves it up."""
    server = Server(start_for_all, tmp_path_factory.mktemp("server"))
    server.up()
    return server


# What MLflow has, and what the files say


def runs_of(client: MlflowClient, study: str, which: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], run_view_type=which, max_results=1000))


def statuses(client: MlflowClient, study: str) -> Counter[str]:
    return Counter(run.info.status for run in runs_of(client, study))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle))


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def artifacts_of(run: Run, server: Server | None) -> Path:
    uri = str(run.info.artifact_uri)
    if uri.startswith("mlflow-artifacts:/"):
        assert server is not None
        return server.artifacts / uri.removeprefix("mlflow-artifacts:/")
    return Path(uri.removeprefix("file://"))


def expected_metrics(root: Path, study: str, cell: str, key: str) -> dict[str, list[tuple[int, float]]]:
    """Every metric of a cell with its steps and values, from the cell's files."""
    history = rows(root / "runs" / study / cell / "history.csv")
    shown: dict[str, list[tuple[int, float]]] = {
        EPOCH_METRICS.get(column, f"train/{column}"): [
            (int(row["epoch"]), float(row[column])) for row in history
        ]
        for column in history[0]
        if column not in {"epoch", "rate_weight", "best_epoch", "learning_rate"}
    }
    timings: dict[int, float] = {}
    for row in rows(root / ".cells" / key / "timings.csv"):
        timings.setdefault(int(row["epoch"]), float(row["images_per_second"]))
    shown["time/images_s"] = sorted(timings.items())
    scores = root / "evaluations" / study / cell / "metrics.json"
    if scores.exists():
        metrics = json.loads(scores.read_text())
        declared = metrics["declarations"]
        numbers = {name for name in declared if isinstance(metrics[name], float | int)}
        measured = {name for name in numbers if "unit" in declared[name]} - {"importance_samples"}
        shown |= {TEST_METRICS.get(score, f"test/{score}"): [(0, metrics[score])] for score in measured}
    return shown


def check_cell(client: MlflowClient, run: Run, root: Path, study: str, server: Server | None) -> None:
    """Everything that the cell's files say is in its run, and once."""
    cell, folder = run.info.run_name, root / "runs" / study / run.info.run_name
    expected = expected_metrics(root, study, cell, run.data.tags["key"])
    metrics = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    assert {name: sorted(values) for name, values in metrics.items()} == expected, cell

    stored = files_in(artifacts_of(run, server))
    pictures = {name: data for name, data in stored.items() if name.startswith("images/")}
    grids_there = {path.name: path.read_bytes() for path in folder.glob("grids/*.png")}
    assert len(pictures) == 2 * len(grids_there), cell  # each with its thumbnail
    for name, data in pictures.items():
        if name.endswith(".png"):
            kind, _, step = name.removeprefix("images/").split("+")[:3]
            assert data == grids_there[f"{kind}-{int(step):04d}.png"], name
    for name in ("history.csv", "columns.json", "model.safetensors", "samples.png", "reconstructions.png"):
        assert stored[name] == (folder / name).read_bytes(), name
    assert "study: " + study in stored["config.yaml"].decode()
    evaluation = root / "evaluations" / study / cell
    if evaluation.exists():
        files = {name: data for name, data in stored.items() if name.startswith("evaluation/")}
        assert files == {f"evaluation/{name}": data for name, data in files_in(evaluation).items()}
        assert "evaluation" in run.data.tags

    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert run.data.tags["weights"] == weights
    assert run.data.tags["unit/val/bpd"].startswith("bits per dimension")
    assert set(run.data.params) == {"likelihood", "latent_dim", "seed"}
    assert len(run.inputs.dataset_inputs) == 1


def check_study(
    client: MlflowClient, root: Path, study: str = "scratch", server: Server | None = None, cells: int = 4
) -> None:
    """MLflow has what the files say: each cell once, all finished, under one parent."""
    laid_out = {path.parent.name for path in (root / "runs" / study).glob("*/model.safetensors")}
    assert len(laid_out) == cells
    runs = runs_of(client, study)
    names = Counter((run.info.run_name, run.info.status) for run in runs)
    assert names == {(name, "FINISHED"): 1 for name in (*laid_out, f"{study} sweep")}
    (parent,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    assert parent.data.params["dataset"] == "digits"
    for run in runs:
        if run is not parent:
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            check_cell(client, run, root, study, server)


def dump(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        return list(connection.iterdump())


# Many workers, many drivers


def test_sixteen_workers_lose_nothing(root: Path, start: Started) -> None:
    output = finish(start(stage("train", root, *SIXTEEN)))
    assert "16 done" in output
    assert UNFINISHED not in output
    check_study(MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), root, cells=16)


def test_drivers_that_start_at_the_same_instant_make_one_database(root: Path, start: Started) -> None:
    studies = ("one", "two", "three", "four")
    drivers = [
        start(stage("train", root, f"study={study}", *TWO, "runtime.cells_at_once=1")) for study in studies
    ]
    for driver in drivers:
        assert UNFINISHED not in finish(driver)
    for study in studies:
        check_study(MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), root, study, cells=2)


def test_two_drivers_of_one_grid_share_its_runs(root: Path, start: Started) -> None:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    for name in ("train", "evaluate"):
        drivers = [start(stage(name, root, *FOUR)) for _ in range(2)]
        for driver in drivers:
            assert UNFINISHED not in finish(driver)
        check_study(client, root)


# PostgreSQL


@dataclass
class Postgres:
    """A private cluster in a folder of its own, on a port of its own."""

    programs: Path
    folder: Path
    port: int

    def __call__(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs, as another user if this one is root, which it refuses."""
        user = pwd.getpwnam("postgres").pw_uid if os.getuid() == 0 else None
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.folder,
            user=user,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/postgres"

    def dump(self) -> str:
        """All rows of all tables, in the order in which they are stored."""
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", "postgres")
        text = self("pg_dump", "--data-only", *address)
        return "\n".join(
            line for line in text.splitlines() if "restrict" not in line
        )  # a new secret each time


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    programs = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    if not programs and (program := shutil.which("initdb")):
        programs = [Path(program).resolve().parent]
    if not programs:
        pytest.fail("needs PostgreSQL, the Debian package postgresql")
    # pytest's own temporary folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        cluster = Postgres(programs[-1], Path(folder), free_port())
        data = f"{folder}/data"
        cluster("initdb", "-D", data, "-U", "mlflow", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-p {cluster.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        cluster("pg_ctl", "-D", data, "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            yield cluster
        finally:
            cluster("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def test_sixteen_workers_on_a_server_with_postgresql(
    root: Path, start: Started, postgres: Postgres, tmp_path: Path
) -> None:
    server = Server(start, tmp_path, postgres.uri, workers=2)
    server.up()
    output = finish(start(stage("train", root, *SIXTEEN), MLFLOW_TRACKING_URI=server.uri))
    assert "16 done" in output
    assert UNFINISHED not in output
    client = MlflowClient(server.uri)
    check_study(client, root, server=server, cells=16)
    once, artifacts = postgres.dump(), files_in(server.artifacts)
    assert once.count("train/elbo") >= 3 * 16
    sync(start, root, server.uri)
    assert postgres.dump() == once
    assert files_in(server.artifacts) == artifacts


def test_sync_fills_an_empty_database_of_postgresql(root: Path, start: Started, postgres: Postgres) -> None:
    """Without a server before it; artifacts then lie beside the results."""
    for name in ("train", "evaluate"):
        finish(start(stage(name, root, *TWO, "tracking=none")))
    sync(start, root, postgres.uri)
    check_study(MlflowClient(postgres.uri), root, cells=2)
    once = postgres.dump()
    sync(start, root, postgres.uri)
    assert postgres.dump() == once


# Servers that die


def last_epoch(client: MlflowClient, study: str) -> int:
    """The last epoch of any cell of a study that MLflow has."""
    steps = [
        metric.step
        for run in runs_of(client, study)
        if "val/bpd" in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, "val/bpd")
    ]
    return max(steps, default=0)


def workers_of(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if "popen_loky" in " ".join(process.cmdline())
    ]


@contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Keep processes from going on, so that what follows happens within the sweep."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_server_that_dies_in_a_sweep_costs_a_warning_and_sync_makes_it_good(
    root: Path, start: Started, server: Server
) -> None:
    client = MlflowClient(server.uri)
    grid = ["study=died", *FOUR, "training.epochs=40"]
    driver = start(stage("train", root, *grid), MLFLOW_TRACKING_URI=server.uri)
    wait_for(lambda: last_epoch(client, "died") > 0)
    with stopped(workers_of(driver)):
        server.down()
    output = finish(driver)
    assert "4 done" in output
    assert output.count(UNFINISHED) == 1
    scored = finish(start(stage("evaluate", root, *grid), MLFLOW_TRACKING_URI=server.uri))
    assert "4 done" in scored
    assert scored.count(UNFINISHED) == 1
    server.up()
    assert statuses(client, "died")["RUNNING"] > 0
    sync(start, root, server.uri)
    check_study(client, root, "died", server)
    once, artifacts = dump(server.folder / "server.db"), files_in(server.artifacts)
    sync(start, root, server.uri)
    assert dump(server.folder / "server.db") == once
    assert files_in(server.artifacts) == artifacts


def test_a_sweep_catches_up_when_the_server_is_back(root: Path, start: Started, server: Server) -> None:
    client = MlflowClient(server.uri)
    grid = ["study=back", *FOUR, "training.epochs=40"]
    driver = start(stage("train", root, *grid), MLFLOW_TRACKING_URI=server.uri)
    wait_for(lambda: last_epoch(client, "back") > 0)
    with stopped(workers_of(driver)):
        server.down()
    histories = list((root / ".cells").glob("*/history.csv"))
    wait_for(lambda: any(len(rows(path)) == 40 for path in histories))
    with stopped(workers_of(driver)):
        server.up()
        wait_for(lambda: last_epoch(client, "back") == 40)
        assert driver.poll() is None
    output = finish(driver)
    assert output.count(UNFINISHED) <= 1
    check_study(client, root, "back", server)


def test_a_driver_that_dies_leaves_nothing_running_after_sync(
    root: Path, start: Started, server: Server
) -> None:
    client = MlflowClient(server.uri)
    grid = ["study=killed", *FOUR, "training.epochs=40", "runtime.checkpoint_seconds=0"]
    driver = start(stage("train", root, *grid), MLFLOW_TRACKING_URI=server.uri)
    wait_for(lambda: (root / "runs" / "killed").exists() and last_epoch(client, "killed") > 0)
    start.kill(driver)
    assert statuses(client, "killed")["RUNNING"] > 0
    sync(start, root, server.uri)
    done = {path.parent.name for path in (root / "runs" / "killed").glob("*/model.safetensors")}
    states = {run.info.run_name: run.info.status for run in runs_of(client, "killed")}
    assert {name for name, status in states.items() if status == "FINISHED"} == done
    assert set(states.values()) == {"FINISHED", "KILLED"}
    finish(start(stage("train", root, *grid), MLFLOW_TRACKING_URI=server.uri))
    check_study(client, root, "killed", server)


# Answers that are lost


class Proxy(ThreadingHTTPServer):
    """Stands between client and server, and loses what `loses` says of the n-th request.

    Args:
        target: the server's port.
        loses: "request" (the server never sees it), "answer" (it has obeyed), or "" for each n from 0.
    """

    daemon_threads = True

    def __init__(self, target: int, loses: Callable[[int], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target, self.loses, self.seen, self.lock = target, loses, 0, threading.Lock()
        self.uri = f"http://127.0.0.1:{self.server_port}"

    def next(self) -> str:
        with self.lock:
            self.seen += 1
            return self.loses(self.seen - 1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class _Forward(BaseHTTPRequestHandler):
    server: Proxy

    def forward(self) -> None:
        fate = self.server.next()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fate == "request":
            return  # the connection is closed without a word
        behind = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        headers = {**dict(self.headers), "Host": f"127.0.0.1:{self.server.target}", "Connection": "close"}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        if fate == "answer":
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = forward  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def proxied(server: Server, loses: Callable[[int], str]) -> Iterator[Proxy]:
    with Proxy(server.port, loses) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


@pytest.fixture
def cells(root: Path, small_cell: Callable[..., Cell]) -> Callable[[str], Cell]:
    """Make a trained and evaluated cell in a study of a given name; it is computed once."""

    def cell(study: str) -> Cell:
        trained = small_cell(f"study={study}", root=root)
        for stage in STAGES.values():
            stage.perform(trained, lambda record: None)
        return trained

    return cell


def mirror_and_let_go(uri: str, root: Path, cell: Cell) -> None:
    """Mirror a cell as sweeps would; then let go of its lock, as a process does that ends."""
    mirror = Mirror(uri, root, cell.study)
    try:
        mirror.open_parent([cell], ["test"])
        mirror.update(cell, cell.run_folder, "RUNNING")
        mirror.update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
        mirror.close_parent("FINISHED")
    finally:
        mirror.forget()


def sync_here(uri: str, root: Path, cell: Cell) -> None:
    mirror = Mirror(uri, root, cell.study)
    grids.end_abandoned(mirror.experiment, cell.settings.runtime.cell_store)
    mirror.update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
    grids.settle(mirror.experiment, [cell])


def test_lost_answers_make_nothing_twice(
    root: Path, server: Server, cells: Callable[[str], Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's client sends a request again whose answer it did not get: every third one here."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    client, twins = MlflowClient(server.uri), 0
    for offset in range(3):
        study = f"lost{offset}"
        with proxied(server, lambda n, offset=offset: "answer" if n % 3 == offset else "") as proxy:  # type: ignore[misc]
            mirror_and_let_go(proxy.uri, root, cells(study))
        check_study(client, root, study, server, cells=1)
        twins += len(runs_of(client, study, ViewType.DELETED_ONLY))
    assert twins == 2  # the cell's run and its parent's were each started twice, in one of the three


@pytest.mark.parametrize("fate", ["request", "answer"])
def test_a_cell_may_be_cut_off_after_any_request(
    root: Path, server: Server, cells: Callable[[str], Cell], monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    """The server is gone from the n-th request on; `sync` completes the run that is there."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient(server.uri)
    first, cut_off = (0 if fate == "request" else 3), True
    while cut_off:
        study, cut_off = f"{fate}{first}", False
        with proxied(server, lambda n, first=first: fate if n >= first else "") as proxy:  # type: ignore[misc]
            try:
                mirror_and_let_go(proxy.uri, root, cells(study))
            except MlflowException:
                cut_off = True
            requests, proxy.loses = proxy.seen, lambda n: ""
            sync_here(proxy.uri, root, cells(study))
        check_study(client, root, study, server, cells=1)
        first += 6
    assert requests > 30
