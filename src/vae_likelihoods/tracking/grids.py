"""The runs of whole grids in MLflow: the parents of the runs of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.store.entry import FAILURE
from vae_likelihoods.tracking.connection import creation_lock, driver, is_alive
from vae_likelihoods.tracking.contents import constants, varied
from vae_likelihoods.tracking.experiment import PARENT, Experiment
from vae_likelihoods.tracking.view import VIEW, same_view, shared_view

if TYPE_CHECKING:
    from mlflow.entities import Run

CARD = ("data_card.md", "data_card.json", "contact_sheet.png")
_DATA = "data"  # tag of a grid's run: the hash of the data whose card it has
SYNC = "sync"  # the command of a run that was not started by a sweep


def begin(experiment: Experiment, cells: Sequence[Cell], command: Sequence[str]) -> str:
    """Find the run of exactly this grid, or start one; return its id."""
    run = run_of(experiment, cells, command)
    if run.info.status != "RUNNING":
        experiment.client.update_run(run.info.run_id, status="RUNNING")
    experiment.log(run.info.run_id, tags={"driver": driver(experiment.root), "cells": str(len(cells))})
    set_view(experiment, cells)
    return str(run.info.run_id)


def log_data_card(experiment: Experiment, run_id: str, cell: Cell) -> None:
    """Log the data card and the contact sheet of a grid's data set to the grid's run, once."""
    run = experiment.client.get_run(run_id)
    if run.data.tags.get(_DATA) == cell.data.sha256:
        return
    for name in CARD:
        if (path := cell.data.folder / name).is_file():
            experiment.client.log_artifact(run_id, str(path), "data")
    experiment.log(run_id, tags={_DATA: cell.data.sha256})


def grid_of(cells: Sequence[Cell]) -> str:
    """Return the tag that identifies a grid."""
    return key_of({"cells": sorted(cell.name + cell.key for cell in cells)})


def run_of(experiment: Experiment, cells: Sequence[Cell], command: Sequence[str]) -> Run:
    """Return the run of exactly this grid, started if there is none."""
    tags = {"study": experiment.study, "command": " ".join(command), "cells": str(len(cells))}
    tags["driver"] = driver(experiment.root)
    with creation_lock(experiment.uri, experiment.root):
        run = experiment.run({"kind": "sweep", "grid": grid_of(cells)}, tags, f"{experiment.study} sweep")
    experiment.complete_params(run, constants(cells))
    return run


def set_view(experiment: Experiment, cells: Sequence[Cell]) -> None:
    """Prepare the view of the study, unless it exists."""
    view = shared_view(max(cell.settings.training.epochs for cell in cells), varied(cells))
    key = f"mlflow.sharedViewState.{VIEW}"
    if not same_view(experiment.tags.get(key), view):
        experiment.client.set_experiment_tag(experiment.id, key, view)


def end_abandoned(experiment: Experiment, store: Path) -> None:
    """End runs that an ended driver left RUNNING: as FAILED if the cell's entry of `store` says so."""
    for run in experiment.search("attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if not is_alive(tags.get("driver", ""), experiment.root):
            failure = store / tags.get("key", "") / FAILURE
            experiment.end(run.info.run_id, tags, "FAILED" if failure.exists() else "KILLED", failure)


def settle(experiment: Experiment, cells: Sequence[Cell]) -> None:
    """Put cells without a parent under one; end the grids of ended drivers by how their cells ended.

    The parent is the run of `cells` as one grid if there is one; else they get a run of their own.
    """
    trained = experiment.search("tags.kind = 'train'")
    sweeps = experiment.search("tags.kind = 'sweep'")
    parents, by_name = {run.info.run_id for run in sweeps}, {cell.name: cell for cell in cells}
    orphans = [run for run in trained if run.data.tags.get(PARENT) not in parents]
    if orphans := [run for run in orphans if run.data.tags.get("cell") in by_name]:
        left = {run.data.tags["cell"]: by_name[run.data.tags["cell"]] for run in orphans}
        begun = any(run.data.tags.get("grid") == grid_of(cells) for run in sweeps)
        parent = run_of(experiment, cells if begun else list(left.values()), [SYNC]).info.run_id
        for run in orphans:
            experiment.client.set_tag(run.info.run_id, PARENT, parent)
            run.data.tags[PARENT] = parent
        sweeps = experiment.search("tags.kind = 'sweep'")
    for sweep in sweeps:
        statuses = [run.info.status for run in trained if run.data.tags.get(PARENT) == sweep.info.run_id]
        _end_sweep(experiment, sweep, statuses)
    drop_emptied(experiment)
    set_view(experiment, cells)


def drop_emptied(experiment: Experiment) -> None:
    """Delete the runs of `settle` that have no cells any more: those are under the run of a grid by now."""
    of_sync = experiment.search(f"tags.kind = 'sweep' and tags.command = '{SYNC}'")
    if of_sync:
        parents = {run.data.tags.get(PARENT) for run in experiment.search("tags.kind = 'train'")}
        for run in of_sync:
            if run.info.run_id not in parents:
                experiment.client.delete_run(run.info.run_id)


def _end_sweep(experiment: Experiment, sweep: Run, statuses: Sequence[str]) -> None:
    before, owner = sweep.info.status, sweep.data.tags.get("driver", "")
    if before == "FINISHED" or (owner != driver(experiment.root) and is_alive(owner, experiment.root)):
        return
    if str(len(statuses)) == sweep.data.tags.get("cells") and set(statuses) == {"FINISHED"}:
        after = "FINISHED"
    else:
        after = "FAILED" if "FAILED" in statuses else "KILLED" if before == "RUNNING" else before
    if after != before:
        experiment.client.set_terminated(sweep.info.run_id, after)
