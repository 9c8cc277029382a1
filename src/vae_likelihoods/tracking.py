"""MLflow shows what the files say: the only module that knows MLflow.

Training and evaluation write files and know nothing of MLflow. A `Mirror` reads those files and brings a
study's experiment up to date: while a sweep runs, after it, or much later on another machine (`make sync`).
It logs only what MLflow does not have yet, so doing it twice is doing it once; a server that does not answer
costs a warning and a pause, never a number.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from vae_likelihoods.cells import Cell, key_of
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import sha256, write_whole
from vae_likelihoods.tracking_view import run_colour, shared_view
from vae_likelihoods.units import Unit

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

    from vae_likelihoods.sweeps import Sweep

log = logging.getLogger(__name__)

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
WEIGHTS = "model.safetensors"
VIEW = "study"  # name of the prepared view in the experiment's tags
PAUSE_SECONDS = 30.0  # after a failure the server is left alone for so long
NETWORK_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

# Column of history.csv -> metric. The headline comes first: MLflow's compare page preselects it.
EPOCH_METRICS = {
    "val_bits_per_dim": "val/bpd",
    "val_elbo": "val/elbo",
    "val_distortion": "val/distortion",
    "val_rate": "val/rate",
    "train_loss": "train/loss",
    "train_elbo": "train/elbo",
    "train_distortion": "train/distortion",
    "train_rate": "train/rate",
}
SKIPPED = {"epoch", "rate_weight", "best_epoch", "learning_rate"}
TEST_METRICS = {
    "bits_per_dim": "test/bpd",
    "bits_per_dim_se": "test/bpd_se",
    "nll_nats": "test/nll",
    "elbo_nats": "test/elbo",
    "rate_nats": "test/rate",
    "distortion_nats": "test/distortion",
    "active_units": "test/active",
    "squared_error": "test/sq_error",
    "effective_sample_size": "test/ess",
}
HEADLINES = {"val_bits_per_dim": "val/bpd", "bits_per_dim": "test/bpd"}  # a tag says their unit


def store_uri(uri: str | None, root: Path) -> str:
    """Return where MLflow is: `uri`, or the database in the results' folder.

    Raises:
        SettingError: if the address has a scheme that MLflow does not serve.
    """
    if uri is None:
        return f"sqlite:///{root / 'mlflow.db'}"
    schemes = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
    if uri.partition(":")[0].partition("+")[0] not in schemes:
        raise SettingError("tracking.uri", uri, "is no address of an MLflow store", [*schemes, "none"])
    return uri


@dataclass
class Child:
    """What MLflow already has of one cell."""

    run_id: str
    epochs: int  # the last epoch whose metrics are there
    pictures: set[str]
    tags: dict[str, str]
    lock: FileLock = field(repr=False)


class Mirror:
    """The experiment of one study.

    Args:
        uri: MLflow's store.
        root: folder of all results.
        study: name of study and experiment.
    """

    def __init__(self, uri: str, root: Path, study: str) -> None:
        self.uri, self.root, self.study = uri, root, study
        self.children: dict[str, Child] = {}
        self.parent: str | None = None
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._known: list[Run] = []

    @property
    def client(self) -> MlflowClient:
        """The connection; the first use imports MLflow, makes the database and the experiment."""
        if self._client is None:
            self._client = connect(self.uri, self.root)
            self._experiment = experiment(self._client, self.study, self.root, self.uri)
            self._known = self._search("tags.kind = 'train'")
        return self._client

    def open_parent(self, cells: Sequence[Cell], command: Sequence[str]) -> None:
        """Find the run of this very grid, or start one; mark what dead drivers left running."""
        if self.parent is not None:
            return
        grid = key_of({"cells": sorted(cell.name + cell.key for cell in cells)})
        self.client  # noqa: B018 - connects
        self._bury_the_dead()
        with FileLock(self.root / "logs" / "mlflow.lock"):  # two sweeps of the same grid share it
            found = self._search(f"tags.kind = 'sweep' and tags.grid = '{grid}'")
            if found:
                self.parent = found[0].info.run_id
                self.client.update_run(self.parent, status="RUNNING")
            else:
                tags = {"kind": "sweep", "study": self.study, "grid": grid, "command": " ".join(command)}
                name = f"{self.study} sweep"
                run = self.client.create_run(self._experiment, tags=self._tags(tags), run_name=name)
                self.parent = run.info.run_id
        if not found or not found[0].data.params:
            self._log_params(self.parent, constants(cells))
        self.client.set_tag(self.parent, "driver", driver())
        view = shared_view(max(cell.settings.training.epochs for cell in cells))
        self.client.set_experiment_tag(self._experiment, f"mlflow.sharedViewState.{VIEW}", view)

    def close_parent(self, status: Status) -> None:
        """End the sweep's run."""
        if self.parent is not None:
            self.client.set_terminated(self.parent, status)

    def update(self, cell: Cell, folder: Path, status: Status, extra: Iterable[str] = ()) -> bool:
        """Log what `folder` has and MLflow has not; `status` says how the cell stands.

        Returns:
            Whether this process mirrors the cell; False while another one does.
        """
        weights = sha256(folder / WEIGHTS) if status == "FINISHED" else ""
        child = self._child(cell, weights, extra)
        if child is None:
            return False
        if child.tags.get("weights", "") == weights != "":
            return True
        self._log_history(child, folder)
        self._log_pictures(child, folder)
        if status == "FINISHED":
            self._log_results(child, cell, folder, weights)
        if status != "RUNNING":
            self._log_end(child, folder, status)
        return True

    def update_evaluation(self, cell: Cell, folder: Path, extra: Iterable[str] = ()) -> bool:
        """Log the evaluation in `folder` to the run of its cell, and first the cell if it is not there.

        Returns:
            Whether this process mirrors the cell; False while another one does.
        """
        if not self.update(cell, cell.run_folder, "FINISHED", extra):
            return False
        child = self.children[cell.name]
        metrics = json.loads((folder / "metrics.json").read_text())
        mark = key_of(metrics)
        if child.tags.get("evaluation") == mark:
            return True
        values = [(name, metrics[key], 0) for key, name in TEST_METRICS.items() if key in metrics]
        self._log_metrics(child, values)
        self._tag_units(child, metrics["units"])
        for path in sorted(folder.iterdir()):
            self.client.log_artifact(child.run_id, str(path), "evaluation")
        self.client.set_tag(child.run_id, "evaluation", mark)
        child.tags["evaluation"] = mark
        return True

    # One run a cell

    def _child(self, cell: Cell, weights: str, extra: Iterable[str]) -> Child | None:
        """Return the cell's run, found by its tags or started; None while another process mirrors it.

        A finished cell is known by its weights, so that code which changed no number finds its run again.
        """
        if cell.name in self.children:
            return self.children[cell.name]
        self.client  # noqa: B018 - connects, and reads which runs there are
        path = self.root / "logs" / "tracking" / f"{cell.study}-{cell.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        same = [run for run in self._known if run.data.tags.get("cell") == cell.name]
        marks = {("key", cell.key), ("weights", weights)}
        found = [run for run in same if marks & set(run.data.tags.items())]
        if not found:  # another process may have begun it after this one read which runs there are
            same = self._search(f"tags.kind = 'train' and tags.cell = '{cell.name}'")
            found = [run for run in same if marks & set(run.data.tags.items())]
        child = self._adopt(found[0], cell, extra, lock) if found else self._start(cell, extra, lock)
        self.children[cell.name] = child
        return child

    def _adopt(self, run: Run, cell: Cell, extra: Iterable[str], lock: FileLock) -> Child:
        run_id, tags = run.info.run_id, dict(run.data.tags)
        if not run.data.params:  # its process died before it said them
            self._describe(run_id, cell, extra)
        history = self.client.get_metric_history(run_id, "val/bpd")
        logged = (picture_mark(item.path) for item in self.client.list_artifacts(run_id, "images"))
        pictures = {mark for mark in logged if mark}
        if self.parent is not None and tags.get("mlflow.parentRunId") != self.parent:
            self.client.set_tag(run_id, "mlflow.parentRunId", self.parent)
        if "weights" not in tags:
            self.client.update_run(run_id, status="RUNNING")
            self.client.set_tag(run_id, "driver", driver())
        return Child(run_id, max((metric.step for metric in history), default=0), pictures, tags, lock)

    def _start(self, cell: Cell, extra: Iterable[str], lock: FileLock) -> Child:
        colour = run_colour(cell.settings.names["likelihood"], cell.settings.latent_dim)
        tags = {"kind": "train", "study": self.study, "cell": cell.name, "key": cell.key, "driver": driver()}
        tags["mlflow.runColor"] = colour
        if self.parent is not None:
            tags["mlflow.parentRunId"] = self.parent
        run = self.client.create_run(self._experiment, tags=self._tags(tags), run_name=cell.name)
        self._describe(run.info.run_id, cell, extra)
        return Child(run.info.run_id, 0, set(), {}, lock)

    def _describe(self, run_id: str, cell: Cell, extra: Iterable[str]) -> None:
        self._log_dataset(run_id, cell)
        self._log_params(run_id, identifying(cell, extra))

    def _log_history(self, child: Child, folder: Path) -> None:
        speeds = {int(row["epoch"]): row for row in rows(folder / "timings.csv")}
        values: list[tuple[str, Any, int]] = []
        for row in rows(folder / "history.csv"):
            epoch = int(row["epoch"])
            if epoch > child.epochs:
                named = {EPOCH_METRICS.get(key, f"train/{key}"): row[key] for key in in_order(row)}
                values += [(name, value, epoch) for name, value in named.items()]
                if epoch in speeds:
                    values.append(("time/images_s", speeds[epoch]["images_per_second"], epoch))
        if values:
            self._log_metrics(child, values)
            child.epochs = max(step for _, _, step in values)

    def _log_pictures(self, child: Child, folder: Path) -> None:
        from PIL import Image

        for path in sorted((folder / "grids").glob("[!.]*-[0-9]*.png")):
            kind, _, step = path.stem.rpartition("-")
            mark = f"{kind}-{int(step)}"
            if mark not in child.pictures:
                with Image.open(path) as picture:
                    self.client.log_image(child.run_id, picture, key=kind, step=int(step), synchronous=True)
                child.pictures.add(mark)

    def _log_results(self, child: Child, cell: Cell, folder: Path, weights: str) -> None:
        for name in ("history.csv", WEIGHTS, "samples.png", "reconstructions.png"):
            self.client.log_artifact(child.run_id, str(folder / name))
        units = folder / "units.json"
        if units.exists():  # older versions wrote none
            self.client.log_artifact(child.run_id, str(units))
            self._tag_units(child, json.loads(units.read_text()))
        self.client.log_text(child.run_id, OmegaConf.to_yaml(cell.description()), "config.yaml")
        self.client.set_tag(child.run_id, "weights", weights)
        child.tags["weights"] = weights

    def _log_end(self, child: Child, folder: Path, status: Status) -> None:
        """End the run; one that failed says why."""
        failure = folder / "failure.txt"
        if failure.exists():
            self.client.log_artifact(child.run_id, str(failure))
            self.client.set_tag(child.run_id, "error", failure.read_text().splitlines()[0])
        self.client.set_terminated(child.run_id, status)

    # MLflow's calls

    def _tag_units(self, child: Child, units: Mapping[str, Any]) -> None:
        """Say the units of the headline metrics in tags; what an older version wrote has none."""
        for number, metric in HEADLINES.items():
            if isinstance(units.get(number), dict):
                self.client.set_tag(child.run_id, f"unit/{metric}", str(Unit.from_dict(units[number])))

    def _log_metrics(self, child: Child, values: Sequence[tuple[str, Any, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics: list[Metric] = [Metric(name, float(value), now, step) for name, value, step in values]
        for start in range(0, len(metrics), 900):  # a batch holds at most 1000
            self.client.log_batch(child.run_id, metrics[start : start + 900])

    def _log_params(self, run_id: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        self.client.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])

    def _log_dataset(self, run_id: str, cell: Cell) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        counts = {split: cell.data.count(split) for split in ("train", "validation", "test")}
        profile = json.dumps({**counts, "shape": cell.data.shape, "levels": cell.settings.levels})
        source = json.dumps({"uri": f"data/prepared/{cell.data.name}"})
        dataset = Dataset(cell.data.name, cell.data.sha256[:36], "local", source, profile=profile)
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])

    def _search(self, condition: str) -> list[Run]:
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _bury_the_dead(self) -> None:
        """Mark as KILLED what a driver that is no more left RUNNING."""
        for run in self._search("attributes.status = 'RUNNING'"):
            if not alive(run.data.tags.get("driver", "")):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _tags(self, tags: dict[str, str]) -> dict[str, str]:
        return {**tags, "mlflow.user": os.environ.get("USER", "unknown")}


def identifying(cell: Cell, extra: Iterable[str] = ()) -> dict[str, Any]:
    """Return the few params that tell a cell from its siblings; every image card prints all of them."""
    settings = cell.settings
    params: dict[str, Any] = {
        "likelihood": settings.names["likelihood"],
        "latent_dim": settings.latent_dim,
        "seed": settings.seed,
    }
    whole: dict[str, Any] = {**settings.model_dump(), **settings.names}
    for key in extra:
        value: Any = settings.names.get(key, whole)
        for part in key.split(".") if value is whole else ():
            value = value.get(part) if isinstance(value, dict) else None
        params[key] = value
    return params


def constants(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return what all cells of a grid share, as params of their parent."""
    shared: dict[str, Any] = {}
    for name in ("dataset", "network", "objective"):
        shared[name] = ",".join(sorted({cell.settings.names[name] for cell in cells}))
    shared["levels"] = ",".join(sorted({str(cell.settings.levels) for cell in cells}))
    return {**shared, "epochs": ",".join(sorted({str(cell.settings.training.epochs) for cell in cells}))}


def picture_mark(path: str) -> str:
    """Return key-step of a picture that `log_image` stored as images/key+step+7+timestamp+... (or with %)."""
    found = re.match(r"(\w+)[+%]step[+%](\d+)[+%]", Path(path).name)
    return f"{found[1]}-{found[2]}" if found else ""


def in_order(row: dict[str, str]) -> list[str]:
    """Return the columns of a history row that become metrics, the headline first."""
    rest = [key for key in row if key not in EPOCH_METRICS and key not in SKIPPED]
    return [*(key for key in EPOCH_METRICS if key in row), *rest]


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file; one that is not there has no rows."""
    try:
        with path.open() as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        return []


def driver() -> str:
    """Name this process among those that may mirror."""
    return f"{os.uname().nodename}:{os.getpid()}"


def alive(name: str) -> bool:
    """Whether the process that `driver` named may still live; one on another machine may."""
    host, _, process = name.rpartition(":")
    if host != os.uname().nodename or not process.isdigit():
        return bool(host)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def connect(uri: str, root: Path) -> MlflowClient:
    """Open the store; a fresh database is made by one process at a time."""
    for name, value in NETWORK_PATIENCE.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient
    for name, level in (
        ("mlflow", logging.WARNING),
        ("alembic", logging.WARNING),
        ("urllib3", logging.ERROR),
    ):
        logging.getLogger(name).setLevel(level)
    (root / "logs").mkdir(parents=True, exist_ok=True)
    with FileLock(root / "logs" / "mlflow.lock"):
        scheme, _, path = uri.partition(":///")
        if scheme == "sqlite" and path and "?" not in path and not Path(path).exists():
            # MLflow cannot open a database again whose making was interrupted.
            write_whole(Path(path), lambda aside: MlflowClient(tracking_uri=f"sqlite:///{aside}"))
        return MlflowClient(tracking_uri=uri)


def silence(uri: str, error: Exception) -> str:
    """Say in one line that MLflow did not take something, and what to do."""
    reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
    return f"MLflow at {uri} did not take the results; `make sync` does it later ({reason})"


def mlflow_errors() -> tuple[type[Exception], ...]:
    """Return what MLflow raises when a store does not answer, or refuses."""
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


def experiment(client: MlflowClient, study: str, root: Path, uri: str) -> str:
    """Return the id of the study's experiment, made if it is new."""
    with FileLock(root / "logs" / "mlflow.lock"):
        found = client.get_experiment_by_name(study)
        if found is not None and found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        if found is not None:
            identifier = str(found.experiment_id)
        else:
            local = (root / "mlartifacts" / study).as_uri() if uri.startswith("sqlite") else None
            identifier = str(client.create_experiment(study, artifact_location=local))
        return identifier


def mirror_for(sweep: Sweep, command: Sequence[str], extra: Sequence[str]) -> Callable[[Sweep, bool], None]:
    """Return the function that `Watch` calls: it mirrors a sweep, and survives a dead server."""
    cell = sweep.cells[0]
    if cell.settings.tracking.uri == "none":
        return lambda sweep, last: None
    uri = store_uri(cell.settings.tracking.uri, cell.root)
    return Guard(SweepMirror(Mirror(uri, cell.root, cell.study), command, extra))


class SweepMirror:
    """Mirrors the cells of a sweep, of either stage; each finished cell once."""

    def __init__(self, mirror: Mirror, command: Sequence[str], extra: Sequence[str]) -> None:
        self.mirror, self.command, self.extra = mirror, command, extra
        self.complete: set[str] = set()

    def __call__(self, sweep: Sweep, last: bool) -> None:
        """Log what is new; with `last`, also how the sweep ended."""
        trains = sweep.stage.name == "train"
        if trains:
            self.mirror.open_parent(sweep.cells, self.command)
        for cell in sweep.cells:
            if cell.name not in self.complete:
                finished = sweep.state(cell) in ("done", "stored")
                taken = self._train(sweep, cell, last) if trains else self._evaluate(sweep, cell)
                if finished and taken:
                    self.complete.add(cell.name)
        if trains and last:
            ended: Status = "FAILED" if sweep.of("failed") else "FINISHED"
            self.mirror.close_parent("KILLED" if sweep.of("missing") else ended)

    def _train(self, sweep: Sweep, cell: Cell, last: bool) -> bool:
        entry = sweep.stage.entry(cell)
        if not (entry.folder / "history.csv").exists() and not entry.failure:
            return False
        return self.mirror.update(cell, entry.folder, self._status(sweep, cell, last), self.extra)

    def _evaluate(self, sweep: Sweep, cell: Cell) -> bool:
        laid_out = sweep.stage.target(cell)
        if sweep.state(cell) not in ("done", "stored") or not laid_out.exists():
            return False
        return self.mirror.update_evaluation(cell, laid_out, self.extra)

    def _status(self, sweep: Sweep, cell: Cell, last: bool) -> Status:
        state = sweep.state(cell)
        if state in ("done", "stored"):
            return "FINISHED"
        if state == "failed":
            return "FAILED"
        return "KILLED" if last else "RUNNING"


class Guard:
    """Calls a mirror; when MLflow does not answer, warns once, pauses, tries again at the end."""

    def __init__(self, mirror: SweepMirror) -> None:
        self.mirror = mirror
        self.resume_at = 0.0
        self.warned = False

    def __call__(self, sweep: Sweep, last: bool) -> None:
        """Mirror, unless MLflow failed a moment ago."""
        if time.monotonic() < self.resume_at and not last:
            return
        try:
            self.mirror(sweep, last)
        except Exception as error:  # whatever goes wrong in tracking must not cost a cell
            self.resume_at = time.monotonic() + PAUSE_SECONDS
            if not self.warned:
                log.warning("%s", silence(self.mirror.mirror.uri, error))
            self.warned = True
