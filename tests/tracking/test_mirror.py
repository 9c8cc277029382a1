"""MLflow as a view of the files: complete, idempotent, whatever is cut off."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_names import EPOCH_METRICS, TEST_METRICS
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.tracking import grids
from vae_likelihoods.tracking.connection import driver, lock_of
from vae_likelihoods.tracking.experiment import PARENT, batches
from vae_likelihoods.tracking.mirror import Mirror

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own and its dependencies'


def mirror_all(mirror: Mirror, cell: Cell) -> None:
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
    mirror.close_parent("FINISHED")


def sync(mirror: Mirror, cells: list[Cell]) -> None:
    """What `sync` does with the cells of a study."""
    grids.end_abandoned(mirror.experiment, cells[0].settings.runtime.cell_store)
    for cell in cells:
        mirror.update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
    grids.settle(mirror.experiment, cells)


def in_study(cell: Cell, study: str) -> Cell:
    """The same cell in a study of its own, with its files."""
    other = Cell(cell.settings.model_copy(update={"study": study}))
    for mine, its in (
        (cell.run_folder, other.run_folder),
        (cell.evaluation_folder, other.evaluation_folder),
    ):
        shutil.copytree(mine, its, dirs_exist_ok=True)
    return other


def contents(uri: str, study: str = "tracked") -> list[tuple[Any, ...]]:
    """Everything a user sees of the study's runs, in an order that does not depend on time."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = []
    for run in client.search_runs([experiment.experiment_id]):
        history = [
            (key, metric.step, metric.value)
            for key in sorted(run.data.metrics)
            if key != "time/images_s"
            for metric in client.get_metric_history(run.info.run_id, key)
        ]
        files = sorted(item.path for item in client.list_artifacts(run.info.run_id))
        pictures = sorted(
            (Path(item.path).name.partition("+timestamp")[0], Path(item.path).suffix, item.file_size)
            for item in client.list_artifacts(run.info.run_id, "images")
        )
        given = {PARENT, "driver", "mlflow.user", "mlflow.runName", "study", "grid", "command"}
        tags = {key: value for key, value in run.data.tags.items() if key not in given}
        data = [(used.dataset.name, used.dataset.digest) for used in run.inputs.dataset_inputs]
        what = (run.info.run_name, run.info.status, history, files, pictures, run.data.params, tags, data)
        runs.append(what)
    return sorted(runs, key=lambda what: (what[0].endswith("sweep"), str(what)))


def test_the_files_are_all_in_mlflow_and_twice_is_once(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror_all(Mirror(uri, tmp_path, cell.study), cell)
    once = contents(uri)
    mirror_all(Mirror(uri, tmp_path, cell.study), cell)
    assert contents(uri) == once

    (child, parent) = once
    name, status, history, files, pictures, params, _, data = child
    assert (name, status) == ("gaussian_learned-8-0", "FINISHED")
    assert params == {"likelihood": "gaussian_learned", "latent_dim": "8", "seed": "0"}
    marks = [f"{kind}+step+{step}" for kind in ("reconstructions", "samples") for step in range(3)]
    assert [(name, suffix) for name, suffix, _ in pictures] == [
        (mark, suffix) for mark in marks for suffix in (".png", ".webp")
    ]
    assert set(files) == {
        *("config.yaml", "history.csv", "columns.json", "model.safetensors", "samples.png"),
        *("reconstructions.png", "evaluation", "images"),
    }
    metrics = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    assert ("test/bpd", 0, metrics["bits_per_dim"]) in history
    assert [step for key, step, _ in history if key == "val/bpd"] == [1, 2]
    assert [step for key, step, _ in history if key == "train/scale"] == [1, 2]
    assert data == [("digits", cell.data.sha256[:36])]
    assert parent[:2] == ("tracked sweep", "FINISHED")


def test_tags_say_the_units_of_the_headline_metrics(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
    ((*_, tags, _),) = contents(uri)
    assert tags["unit/val/bpd"] == "bits per dimension (mass, validation, D=64, K=17, k=1)"
    assert tags["unit/test/bpd"] == "bits per dimension (mass, test, D=64, K=17, k=4)"


def test_every_number_of_the_files_is_a_metric_under_the_name_that_people_know(
    uri: str, tmp_path: Path, cell: Cell
) -> None:
    Mirror(uri, tmp_path, cell.study).update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
    ((_, _, history, *_),) = contents(uri)
    evaluation = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    declared = evaluation["declarations"]
    others = {"kl_per_latent_nats", "importance_samples"}  # a list, and a setting
    measured = {name for name in declared if "unit" in declared[name]} - others
    tested = {TEST_METRICS.get(name, f"test/{name}") for name in measured}
    assert {key for key, *_ in history} == {*EPOCH_METRICS.values(), "train/scale", *tested}
    assert TEST_METRICS.keys() <= measured


def test_what_an_older_version_wrote_is_mirrored_without_its_numbers(
    uri: str, tmp_path: Path, cell: Cell
) -> None:
    """Nothing says what they are; the files are there all the same."""
    old, evaluation = tmp_path / "old", tmp_path / "evaluation"
    shutil.copytree(cell.run_folder, old)
    shutil.copytree(cell.evaluation_folder, evaluation)
    (old / "columns.json").unlink()
    path = evaluation / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["declarations"]
    path.write_text(json.dumps(metrics | {"units": {"bits_per_dim": "from nll_nats", "scale": "mass"}}))
    assert Mirror(uri, tmp_path, cell.study).update(cell, old, "FINISHED", evaluation)
    ((_, status, history, files, _, _, tags, _),) = contents(uri)
    assert (status, history) == ("FINISHED", [])
    assert {"history.csv", "model.safetensors", "evaluation"} <= set(files)
    assert not [name for name in tags if name.startswith("unit/")]


def test_a_cell_is_followed_while_it_trains(uri: str, tmp_path: Path, cell: Cell) -> None:
    half = tmp_path / "half"
    shutil.copytree(cell.run_folder, half)
    lines = (half / "history.csv").read_text().splitlines()
    (half / "history.csv").write_text("\n".join(lines[:2]) + "\n")
    for picture in half.glob("grids/*-0002.png"):
        picture.unlink()
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, half, "RUNNING")
    (child, _) = contents(uri)
    assert child[1] == "RUNNING"
    assert [step for key, step, _ in child[2] if key == "val/bpd"] == [1]
    assert len(child[4]) == 8
    mirror_all(mirror, cell)
    whole = contents(uri)
    mirror_all(Mirror(uri, tmp_path, "other"), in_study(cell, "other"))
    assert whole[0] == contents(uri, "other")[0]


class Cut:
    """A connection that is lost at a certain call, which MLflow has obeyed or not."""

    def __init__(self, client: MlflowClient, call: int, obeyed: bool) -> None:
        self.client, self.left, self.obeyed = client, call, obeyed

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == -1 and self.obeyed:
                getattr(self.client, name)(*arguments, **named)
            if self.left < 0:
                raise MlflowException("cut")
            return getattr(self.client, name)(*arguments, **named)

        return call


@pytest.mark.faults
@pytest.mark.parametrize("obeyed", [True, False])
def test_a_mirror_may_be_cut_off_at_any_call(uri: str, tmp_path: Path, cell: Cell, obeyed: bool) -> None:
    mirror_all(Mirror(uri, tmp_path, "whole"), in_study(cell, "whole"))
    whole = [what for _, *what in contents(uri, "whole")]
    call, cut_off = 0, True
    while cut_off:
        study = f"cut{call}"
        shared = in_study(cell, study)
        mirror, cut_off = Mirror(uri, tmp_path, study), False
        mirror.experiment.client = Cut(mirror.experiment.client, call, obeyed)  # type: ignore[assignment]
        try:
            mirror_all(mirror, shared)
        except MlflowException:
            cut_off = True
            mirror.forget()
            mirror_all(mirror, shared)
        assert [what for _, *what in contents(uri, study)] == whole, f"after call {call}"
        call += 1
    assert call > 20


def test_a_second_evaluation_replaces_the_first(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror_all(Mirror(uri, tmp_path, cell.study), cell)
    other = tmp_path / "evaluation"
    shutil.copytree(cell.evaluation_folder, other)
    metrics = json.loads((other / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps(metrics | {"bits_per_dim": 7.0}))
    for _ in range(2):
        Mirror(uri, tmp_path, cell.study).update(cell, cell.run_folder, "FINISHED", other)
    client = MlflowClient(uri)
    run = Mirror(uri, tmp_path, cell.study).experiment.search("tags.kind = 'train'")[0]
    assert run.data.metrics["test/bpd"] == 7.0
    assert len(client.get_metric_history(run.info.run_id, "test/bpd")) == 2
    assert len(client.get_metric_history(run.info.run_id, "test/nll")) == 1


def test_a_run_that_was_started_twice_is_made_one(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    create = mirror.experiment.client.create_run

    def twice(*arguments: Any, **named: Any) -> Any:
        create(*arguments, **named)
        return create(*arguments, **named)

    mirror.experiment.client.create_run = twice  # type: ignore[method-assign]
    mirror_all(mirror, cell)
    assert len(contents(uri)) == 2  # the cell and its parent


def test_the_fuller_of_two_runs_stays(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    experiment = mirror.experiment
    tags = {"kind": "train", "cell": cell.name, "key": cell.key, "driver": driver(tmp_path)}
    empty, full = (experiment.client.create_run(experiment.id, tags=tags).info.run_id for _ in range(2))
    experiment.log(full, [[("val/bpd", 1.0, 1)]])
    mirror.update(cell, cell.run_folder, "FINISHED")
    assert experiment.client.get_run(empty).info.lifecycle_stage == "deleted"
    assert experiment.client.get_run(full).info.status == "FINISHED"


def test_a_run_of_a_driver_elsewhere_is_left_alone(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    tags = {"kind": "train", "cell": cell.name, "key": cell.key, "driver": "elsewhere:1:ab"}
    for _ in range(2):
        mirror.experiment.client.create_run(mirror.experiment.id, tags=tags)
    mirror.update(cell, cell.run_folder, "FINISHED")
    assert len(mirror.experiment.search("tags.kind = 'train'")) == 2


def test_only_one_process_mirrors_a_cell(uri: str, tmp_path: Path, cell: Cell) -> None:
    first, second = Mirror(uri, tmp_path, cell.study), Mirror(uri, tmp_path, cell.study)
    assert first.update(cell, cell.run_folder, "RUNNING")
    assert not second.update(cell, cell.run_folder, "RUNNING")
    assert first.update(cell, cell.run_folder, "FINISHED")
    assert second.update(cell, cell.run_folder, "FINISHED", cell.evaluation_folder)
    assert len(contents(uri)) == 1


def test_drivers_that_bring_the_same_data_set_at_once(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirrors = [Mirror(uri, tmp_path, "tracked") for _ in range(8)]
    runs = [mirror.experiment.run({"cell": str(at)}, {}, str(at)) for at, mirror in enumerate(mirrors)]
    gate = threading.Barrier(len(mirrors))

    def bring(mirror: Mirror, run: Run) -> None:
        gate.wait()
        mirror._log_dataset(run.info.run_id, cell)

    with ThreadPoolExecutor(len(mirrors)) as pool:
        list(pool.map(bring, mirrors, runs))
    for run in mirrors[0].experiment.search("attributes.status = 'RUNNING'"):
        assert [used.dataset.name for used in run.inputs.dataset_inputs] == [cell.data.name]


def test_an_earlier_failure_is_forgotten_when_the_cell_is_done(uri: str, tmp_path: Path, cell: Cell) -> None:
    failed = tmp_path / "failed"
    failed.mkdir()
    (failed / "failure.txt").write_text("NonFiniteLossError: in epoch 1\n\nTraceback ...")
    Mirror(uri, tmp_path, cell.study).update(cell, failed, "FAILED")
    ((_, status, _, files, _, _, tags, _),) = contents(uri)
    assert (status, files, tags["error"]) == ("FAILED", ["failure.txt"], "NonFiniteLossError: in epoch 1")
    Mirror(uri, tmp_path, cell.study).update(cell, cell.run_folder, "FINISHED")
    ((_, status, *_, tags, _),) = contents(uri)
    assert status == "FINISHED"
    assert "error" not in tags


def dead(root: Path) -> str:
    """The name of a driver that is gone: it had a lock, and nobody holds it."""
    name = f"{driver(root)}0"
    with lock_of(root, f"driver-{name}"):
        return name


def orphan(mirror: Mirror, root: Path) -> None:
    """Leave the runs as a driver does that is killed."""
    for run in mirror.experiment.search("attributes.status = 'RUNNING'"):
        mirror.experiment.client.set_tag(run.info.run_id, "driver", dead(root))
    mirror.forget()


def test_what_a_dead_driver_left_running_is_ended(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, cell.run_folder, "RUNNING")
    grids.end_abandoned(mirror.experiment, tmp_path)
    assert [status for _, status, *_ in contents(uri)] == ["RUNNING", "RUNNING"]
    orphan(mirror, tmp_path)
    (tmp_path / cell.key).mkdir()
    (tmp_path / cell.key / "failure.txt").write_text("ValueError: why\n")
    grids.end_abandoned(mirror.experiment, tmp_path)
    (child, parent) = contents(uri)
    assert (child[1], child[6]["error"], parent[1]) == ("FAILED", "ValueError: why", "KILLED")


def laid_out_as(cell: Cell, name: str) -> Cell:
    """The same cell under another name, with its files."""
    second = cell.named(name)
    for mine, its in (
        (cell.run_folder, second.run_folder),
        (cell.evaluation_folder, second.evaluation_folder),
    ):
        shutil.copytree(mine, its, dirs_exist_ok=True)
    return second


@pytest.mark.parametrize("logged", [[], ["lost"]])
def test_the_parent_that_sync_gave_goes_when_the_grid_is_complete(
    uri: str, tmp_path: Path, cell: Cell, logged: list[str]
) -> None:
    """A driver dies before it logs a finished cell; sync logs it; then the same grid is swept again."""
    other = laid_out_as(cell, "lost")
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell, other], ["test"])
    for name in logged:
        mirror.update(cell.named(name), cell.run_folder, "RUNNING")
    orphan(mirror, tmp_path)
    sync(Mirror(uri, tmp_path, cell.study), [cell])
    assert sum(name == "tracked sweep" for name, *_ in contents(uri)) == 2
    again = Mirror(uri, tmp_path, cell.study)
    again.open_parent([cell, other], ["test"])
    for each in (cell, other):
        again.update(each, each.run_folder, "FINISHED")
    again.close_parent("FINISHED")
    assert sorted((name, status) for name, status, *_ in contents(uri)) == sorted(
        [(cell.name, "FINISHED"), ("lost", "FINISHED"), ("tracked sweep", "FINISHED")]
    )


def test_sync_ends_what_was_left_and_puts_no_cell_under_another_parent(
    uri: str, tmp_path: Path, cell: Cell
) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, cell.run_folder, "RUNNING")
    orphan(mirror, tmp_path)
    second = laid_out_as(cell, "another")
    for _ in range(2):
        sync(Mirror(uri, tmp_path, cell.study), [cell, second])
        runs = {run.data.tags.get("cell", run.data.tags.get("command")): run for run in all_runs(uri)}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        assert set(runs) == {cell.name, "another", "test", "sync"}
        for child, parent in ((cell.name, "test"), ("another", "sync")):
            assert runs[child].data.tags[PARENT] == runs[parent].info.run_id


def all_runs(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tracked")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_sync_does_not_call_a_grid_finished_that_lacks_cells(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell, cell.named("lost")], ["test"])
    mirror.update(cell, cell.run_folder, "RUNNING")
    orphan(mirror, tmp_path)
    sync(mirror, [cell])
    assert [(name, status) for name, status, *_ in contents(uri)] == [
        ("gaussian_learned-8-0", "FINISHED"),
        ("tracked sweep", "KILLED"),
    ]


def test_batches_cut_no_epoch() -> None:
    epochs = [[(name, 1.0, epoch) for name in "abc"] for epoch in range(5)]
    joined = list(batches(epochs, 7))
    assert [len(batch) for batch in joined] == [6, 6, 3]
    assert [value for batch in joined for value in batch] == [value for epoch in epochs for value in epoch]
