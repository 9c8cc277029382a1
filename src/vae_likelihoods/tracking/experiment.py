"""One study's experiment in MLflow, in calls that may be repeated.

A call whose answer is lost may have been carried out, and MLflow's client sends it again. For params, tags,
statuses and metrics with the same time stamp that changes nothing. A run would exist twice: see
`Experiment.run`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vae_likelihoods.errors import require
from vae_likelihoods.tracking.connection import connect, creation_lock, driver, is_alive, mlflow_errors
from vae_likelihoods.tracking.contents import Value
from vae_likelihoods.tracking.moved import ARTIFACTS

if TYPE_CHECKING:
    from mlflow.entities import Experiment as Entity
    from mlflow.entities import Run

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
PARENT = "mlflow.parentRunId"
STUDY = "study"  # tag of an experiment, which people may rename
BATCH = 900  # metrics a call; MLflow takes 1000


class Experiment:
    """The experiment of one study, made if it is new, restored if it was deleted.

    Args:
        uri: MLflow's store.
        root: folder of all results.
        study: name of the study, and of its experiment when that is made.
    """

    def __init__(self, uri: str, root: Path, study: str) -> None:
        self.uri, self.root, self.study = uri, root, study
        self.client = connect(uri, root)
        with creation_lock(uri, root):
            entity = self._open()
        self.id, self.tags = str(entity.experiment_id), dict(entity.tags)
        if entity.lifecycle_stage == "deleted":
            self.client.restore_experiment(self.id)
            self.drop_copies()  # also what was deleted before the experiment is back
        if STUDY not in self.tags:
            self.client.set_experiment_tag(self.id, STUDY, study)

    def _open(self) -> Entity:
        entity = self._found()
        if entity is None:
            # A server knows where artifacts go; a database that is opened directly does not.
            folder = self.root / ARTIFACTS / self.study
            local = None if self.uri.startswith("http") else folder.as_uri()
            try:
                made = self.client.create_experiment(self.study, local, {STUDY: self.study})
                entity = self.client.get_experiment(made)
            except mlflow_errors():
                # The answer to a first attempt was lost, or another machine was faster.
                entity = self._found()
                if entity is None:
                    raise
        return entity

    def _found(self) -> Entity | None:
        """Return the study's experiment, whatever people call it by now; a deleted one, too.

        Raises:
            SettingError: if another study's experiment was given this one's name.
        """
        from mlflow.entities import ViewType

        named = self.client.get_experiment_by_name(self.study)
        owner = None if named is None else named.tags.get(STUDY, self.study)
        if owner == self.study:
            return named
        condition = f"tags.`{STUDY}` = '{self.study}'"
        for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
            for renamed in self.client.search_experiments(view, filter_string=condition):
                return renamed
        reason = f"MLflow's experiment of this name has the runs of the study {owner}; rename it in MLflow"
        require(owner is None, "study", self.study, reason)
        return None

    def search(self, condition: str) -> list[Run]:
        """Return all runs that fulfil the condition, the newest first."""
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self.id], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def run(
        self,
        identity: Mapping[str, str],
        tags: Mapping[str, str],
        name: str,
        alias: Mapping[str, str] | None = None,
    ) -> Run:
        """Return the run whose tags are `identity`, or else `alias`; start one if there is none.

        MLflow's client repeats a call whose answer was lost, so a run may have been started twice. Then the
        one with the most contents is kept. The caller holds a lock.
        """
        runs = self.search(with_tags(identity))
        if not runs and alias is not None and (others := self.search(with_tags(alias))):
            return min(others, key=_emptiness)
        if not runs:
            user = {"mlflow.user": os.environ.get("USER", "unknown")}
            self.client.create_run(self.id, tags={**identity, **tags, **user}, run_name=name)
            runs = self.search(with_tags(identity))
        return self._fullest(runs)

    def drop_copies(self) -> None:
        """Leave one run of each cell and grid: a deleted run may be restored after it was made anew."""
        groups: dict[tuple[str | None, ...], list[Run]] = {}
        for run in [*self.search("tags.kind = 'train'"), *self.search("tags.kind = 'sweep'")]:
            tags = run.data.tags
            names = ("cell", "weights" if "weights" in tags else "key", "grid")
            groups.setdefault(tuple(tags.get(name) for name in names), []).append(run)
        for runs in groups.values():
            self._fullest(runs)

    def _fullest(self, runs: Sequence[Run]) -> Run:
        """Return the run with the most contents, and delete the others, but for those of live processes."""
        first, *duplicates = sorted(runs, key=_emptiness)
        for duplicate in duplicates:
            owner = duplicate.data.tags.get("driver", "")
            if owner == driver(self.root) or not is_alive(owner, self.root):
                self.client.delete_run(duplicate.info.run_id)
        return first

    def log(
        self,
        run_id: str,
        groups: Iterable[Sequence[Value]] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metrics, params and tags; a group of metrics is stored as a whole or not at all."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        for batch in batches(groups, BATCH):
            self.client.log_batch(run_id, [Metric(name, value, now, step) for name, value, step in batch])
        if params or tags:
            self.client.log_batch(
                run_id,
                params=[Param(key, value) for key, value in (params or {}).items()],
                tags=[RunTag(key, value) for key, value in (tags or {}).items()],
            )

    def complete_params(self, run: Run, params: Mapping[str, str]) -> None:
        """Log the params that `run` lacks; MLflow cannot change a param."""
        self.log(run.info.run_id, params={k: v for k, v in params.items() if k not in run.data.params})

    def end(self, run_id: str, tags: Mapping[str, str], status: Status, failure: Path | None = None) -> None:
        """End the run with these tags; one that failed says why."""
        if failure is not None and failure.exists():
            self.client.log_artifact(run_id, str(failure))
            self.client.set_tag(run_id, "error", failure.read_text().splitlines()[0])
        elif status == "FINISHED" and "error" in tags:
            self.client.delete_tag(run_id, "error")  # of an earlier attempt
        self.client.set_terminated(run_id, status)


def with_tags(tags: Mapping[str, str]) -> str:
    """Return the condition that a run has these tags."""
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def batches(groups: Iterable[Sequence[Value]], size: int) -> Iterator[list[Value]]:
    """Join groups to lists of at most `size` values; no group that fits into one is cut."""
    batch: list[Value] = []
    for group in groups:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = [*batch, *group]
    if batch:
        yield batch


def _emptiness(run: Run) -> tuple[bool, int, int, str]:
    """Return a key that sorts finished runs first, then runs with more metrics, then older ones."""
    info = run.info
    return info.status != "FINISHED", -len(run.data.metrics), info.start_time, info.run_id
