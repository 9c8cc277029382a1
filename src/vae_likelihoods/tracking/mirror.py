"""Bring one study's experiment in MLflow up to date from files.

A `Mirror` logs what MLflow does not have yet, so a second time changes nothing. It may be interrupted at any
call: the next process, or this one after `forget`, asks MLflow what it has. So a mark that says "all of this
is there" is set last: the tag of the weights after their files, the status after the tag.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.cells.run_files import CONFIG, METRICS, TIMINGS, TRAINING_RESULTS, WEIGHTS
from vae_likelihoods.files import sha256
from vae_likelihoods.store.entry import FAILURE
from vae_likelihoods.tracking import contents, grids
from vae_likelihoods.tracking.connection import creation_lock, driver, lock_of
from vae_likelihoods.tracking.experiment import PARENT, Experiment, Status
from vae_likelihoods.tracking.moved import lost
from vae_likelihoods.tracking.view import run_colour

if TYPE_CHECKING:
    from mlflow.entities import Run

PICTURES = {"mlflow.loggedImages": "True"}  # the UI looks for some
THUMBNAIL = (256, 256)  # the size that MLflow's own log_image uses


@dataclass
class Child:
    """What MLflow has of one cell, while this process holds the lock of the cell's run."""

    run_id: str
    start_time: int
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]  # the latest value of each
    lock: FileLock = field(repr=False)
    epochs: int = 0  # the last epoch whose metrics are there
    files: dict[str, int] = field(default_factory=dict)  # sizes of the pictures that were there before
    pictures: set[str] = field(default_factory=set)  # those that this process has logged


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
        self._experiment: Experiment | None = None
        self._finished: dict[str, list[Run]] = {}  # by cell, at the time of the connection

    def forget(self) -> None:
        """Release everything after an error: the next call connects and asks MLflow what it has."""
        for child in self.children.values():
            child.lock.release()
        self.children.clear()
        self._finished.clear()
        self.parent = self._experiment = None

    @property
    def experiment(self) -> Experiment:
        """The connection; its first use imports MLflow, and makes the database and the experiment."""
        if self._experiment is None:
            experiment = Experiment(self.uri, self.root, self.study)
            for run in experiment.search("tags.kind = 'train' and attributes.status = 'FINISHED'"):
                if not lost(run.info.artifact_uri, CONFIG):
                    self._finished.setdefault(run.data.tags.get("cell", ""), []).append(run)
            self._experiment = experiment
        return self._experiment

    def open_parent(self, cells: Sequence[Cell], command: Sequence[str]) -> None:
        """Find the run of exactly this grid, or start one; end the runs that ended drivers left running."""
        if self.parent is None:
            grids.end_abandoned(self.experiment, cells[0].settings.runtime.cell_store)
            self.parent = grids.begin(self.experiment, cells, command)
            grids.log_data_card(self.experiment, self.parent, cells[0])

    def close_parent(self, status: Status) -> None:
        """End the sweep's run."""
        if self.parent is not None:
            self.experiment.end(self.parent, {}, status)
            grids.drop_emptied(self.experiment)

    def update(
        self,
        cell: Cell,
        folder: Path,
        status: Status,
        evaluation: Path | None = None,
        extra: Iterable[str] = (),
    ) -> bool:
        """Log what `folder` and `evaluation` have and MLflow does not have.

        Args:
            cell: whose run it is.
            folder: the files of the training.
            status: how the cell stands.
            evaluation: the files of its evaluation.
            extra: keys that the sweep varies beyond the axes.

        Returns:
            Whether this process mirrors the cell; False while another one does.
        """
        weights = sha256(folder / WEIGHTS) if status == "FINISHED" else ""
        metrics = {} if evaluation is None else json.loads((evaluation / METRICS).read_text())
        mark = key_of(metrics) if metrics else None
        if self._is_there(cell, weights, mark):
            return True
        child = self._child(cell, weights, extra)
        if child is None:
            return False
        if not _done(child.status, child.tags, weights):
            self._log_training(child, cell, folder, status, weights)
        if evaluation is not None and mark is not None and child.tags.get("evaluation") != mark:
            self._log_evaluation(child, evaluation, metrics, mark)
        if status != "RUNNING":
            self.children.pop(cell.name).lock.release()
        return True

    def _is_there(self, cell: Cell, weights: str, mark: str | None) -> bool:
        """Whether MLflow had all of a finished cell at the time of the first connection."""
        if not weights or cell.name in self.children:
            return False
        self.experiment  # noqa: B018 - connects, and reads what is finished
        for run in self._finished.get(cell.name, []):
            tags = run.data.tags
            if _done(run.info.status, tags, weights) and mark in (None, tags.get("evaluation")):
                self._put_under_parent(run.info.run_id, tags)
                return True
        return False

    def _child(self, cell: Cell, weights: str, extra: Iterable[str]) -> Child | None:
        """Return the cell's run, found by its tags or started; None while another process mirrors it.

        A finished cell is recognised by its weights, so it finds its run after a change of code that changes
        no number.
        """
        if cell.name in self.children:
            return self.children[cell.name]
        lock = lock_of(self.root, f"{cell.study}-{cell.name}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        try:
            child = self._adopt(cell, weights, extra, lock)
        except BaseException:
            lock.release()
            raise
        self.children[cell.name] = child
        return child

    def _adopt(self, cell: Cell, weights: str, extra: Iterable[str], lock: FileLock) -> Child:
        identity = {"kind": "train", "cell": cell.name}
        colour = run_colour(cell.settings.family, cell.settings.latents)
        tags = {"study": self.study, "driver": driver(self.root), "mlflow.runColor": colour, **PICTURES}
        tags |= {PARENT: self.parent} if self.parent is not None else {}
        alias = {**identity, "weights": weights} if weights else None
        run = self.experiment.run({**identity, "key": cell.key}, tags, cell.name, alias)
        info, had = run.info, dict(run.data.tags)
        if lost(info.artifact_uri, CONFIG):  # its marks say that everything is there
            had = {name: value for name, value in had.items() if name not in ("weights", "evaluation")}
        child = Child(info.run_id, info.start_time, info.status, had, dict(run.data.metrics), lock)
        self._put_under_parent(child.run_id, child.tags)
        if not _done(child.status, child.tags, weights):
            self._begin(child, run, cell, extra)
        return child

    def _begin(self, child: Child, run: Run, cell: Cell, extra: Iterable[str]) -> None:
        """Add what a run that is not finished lacks; read how many epochs it has."""
        client = self.experiment.client
        self.experiment.complete_params(run, contents.identifying(cell, extra))
        if run.inputs is None or not run.inputs.dataset_inputs:
            self._log_dataset(child.run_id, cell)
        if child.tags.get("driver") != driver(self.root):
            self.experiment.log(child.run_id, tags={"driver": driver(self.root), **PICTURES})
        if child.status != "RUNNING":
            client.update_run(child.run_id, status="RUNNING")
            child.status = "RUNNING"
        if child.metrics:
            history = client.get_metric_history(child.run_id, contents.VALIDATION_SCORE)
            child.epochs = max((metric.step for metric in history), default=0)
        listed = client.list_artifacts(child.run_id, "images")
        child.files = {Path(item.path).name: item.file_size or 0 for item in listed}

    def _put_under_parent(self, run_id: str, tags: dict[str, str]) -> None:
        if self.parent is not None and tags.get(PARENT) != self.parent:
            self.experiment.client.set_tag(run_id, PARENT, self.parent)
            tags[PARENT] = self.parent

    def _log_dataset(self, run_id: str, cell: Cell) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": f"data/prepared/{cell.data.name}"})
        profile = contents.data_profile(cell)
        dataset = Dataset(cell.data.name, cell.data.sha256[:36], "local", source, profile=profile)
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])
        # If two processes log the same data set to an experiment at once, MLflow refuses one.
        with creation_lock(self.uri, self.root):
            self.experiment.client.log_inputs(run_id, [used])

    def _log_training(self, child: Child, cell: Cell, folder: Path, status: Status, weights: str) -> None:
        timings = cell.trained.folder / TIMINGS
        new = contents.epochs(folder, timings, child.epochs, status != "RUNNING")
        self.experiment.log(child.run_id, new.values())
        child.epochs = max(new, default=child.epochs)
        self._log_pictures(child, folder)
        if status == "FINISHED":
            self._log_results(child, cell, folder, weights)
        if status != "RUNNING":
            self.experiment.end(child.run_id, child.tags, status, folder / FAILURE)
            child.status = status

    def _log_pictures(self, child: Child, folder: Path) -> None:
        """Log new pictures as MLflow's log_image would, each with its thumbnail."""
        new = {mark: path for mark, path in contents.grids(folder).items() if mark not in child.pictures}
        if not new:
            return
        with TemporaryDirectory() as aside:
            for mark, path in new.items():
                name = contents.picture_name(mark, child.run_id, child.start_time)
                shutil.copyfile(path, Path(aside) / f"{name}.png")
                _write_thumbnail(path, Path(aside) / f"{name}+compressed.webp")
            # A picture with another size was only partly transferred.
            for path in Path(aside).iterdir():
                if child.files.get(path.name) != path.stat().st_size:
                    self.experiment.client.log_artifact(child.run_id, str(path), "images")
        child.pictures |= new.keys()

    def _log_results(self, child: Child, cell: Cell, folder: Path, weights: str) -> None:
        client = self.experiment.client
        for name in TRAINING_RESULTS:
            if (folder / name).exists():  # older versions wrote no columns.json
                client.log_artifact(child.run_id, str(folder / name))
        client.log_text(child.run_id, OmegaConf.to_yaml(cell.description()), CONFIG)
        units = contents.unit_tags(contents.columns(folder))
        self.experiment.log(child.run_id, tags={"weights": weights, **units})
        child.tags["weights"] = weights

    def _log_evaluation(self, child: Child, folder: Path, metrics: Mapping[str, Any], mark: str) -> None:
        new = [value for value in contents.scores(metrics) if child.metrics.get(value[0]) != value[1]]
        self.experiment.log(child.run_id, [new])
        self.experiment.client.log_artifacts(child.run_id, str(folder), "evaluation")
        units = contents.unit_tags(contents.declarations(metrics))
        self.experiment.log(child.run_id, tags={"evaluation": mark, **units})


def _done(status: str, tags: Mapping[str, str], weights: str) -> bool:
    """Whether a run has the whole training that gave these weights."""
    return bool(weights) and status == "FINISHED" and tags.get("weights") == weights


def _write_thumbnail(picture: Path, target: Path) -> None:
    from PIL import Image

    with Image.open(picture) as whole:
        small = whole.copy()
    small.thumbnail(THUMBNAIL)
    small.save(target, method=0)  # the fastest
