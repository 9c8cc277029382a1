"""MLflow as a view of the files: complete, idempotent, and never in the way."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig

from vae_likelihoods.cells import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.stages import STAGES
from vae_likelihoods.sweeps import Sweep
from vae_likelihoods.tracking import Mirror, SweepMirror, alive, driver, in_order, mirror_for, store_uri
from vae_likelihoods.tracking_view import run_colour, shared_view

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own and its dependencies'


@pytest.fixture(scope="module")
def finished(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one trained and evaluated cell, and no MLflow."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(prepared_root / "data", root / "data")
    return root


@pytest.fixture
def cell(finished: Path, configuration: Callable[..., DictConfig]) -> Cell:
    settings = ("dataset=digits", "likelihood=gaussian_learned", "network.hidden=[4]", "training.epochs=2")
    rest = ("metric.bound.samples=4", f"runtime.root='{finished}'", "runtime.device=cpu", "study=tracked")
    cell = Cell.of(configuration(*settings, *rest, "training.grid_epochs=1"))
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
    return cell


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def mirror_all(uri: str, root: Path, cell: Cell) -> None:
    mirror = Mirror(uri, root, cell.study)
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, cell.run_folder, "FINISHED")
    mirror.update_evaluation(cell, cell.evaluation_folder)
    mirror.close_parent("FINISHED")


def contents(client: MlflowClient) -> list[tuple[object, ...]]:
    """Everything a user sees of the study's runs, in an order that does not depend on time."""
    experiment = client.get_experiment_by_name("tracked")
    assert experiment is not None
    found: list[tuple[object, ...]] = []
    for run in client.search_runs([experiment.experiment_id]):
        history = [
            (key, metric.step, metric.value)
            for key in sorted(run.data.metrics)
            for metric in client.get_metric_history(run.info.run_id, key)
        ]
        files = [item.path for item in client.list_artifacts(run.info.run_id)]
        pictures = len(client.list_artifacts(run.info.run_id, "images"))
        found.append((run.info.run_name, run.info.status, history, sorted(files), pictures, run.data.params))
    return sorted(found, key=str)


def test_the_files_are_all_in_mlflow_and_twice_is_once(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror_all(uri, tmp_path, cell)
    once = contents(MlflowClient(uri))
    mirror_all(uri, tmp_path, cell)
    assert contents(MlflowClient(uri)) == once

    (child, parent) = once
    name, status, history, files, pictures, params = child
    assert (name, status) == ("gaussian_learned-8-0", "FINISHED")
    assert params == {"likelihood": "gaussian_learned", "latent_dim": "8", "seed": "0"}
    assert pictures == 12  # two kinds at epochs 0, 1, 2; MLflow keeps a thumbnail of each
    assert set(files) == {
        *("config.yaml", "history.csv", "units.json", "model.safetensors", "samples.png"),
        *("reconstructions.png", "evaluation", "images"),
    }
    metrics = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    assert ("test/bpd", 0, metrics["bits_per_dim"]) in history
    assert [step for key, step, _ in history if key == "val/bpd"] == [1, 2]
    assert [step for key, step, _ in history if key == "train/sigma"] == [1, 2]
    assert parent[:2] == ("tracked sweep", "FINISHED")


def test_tags_say_the_units_of_the_headline_metrics(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.update_evaluation(cell, cell.evaluation_folder)
    tags = mirror.client.get_run(mirror.children[cell.name].run_id).data.tags
    assert tags["unit/val/bpd"] == "bits per dimension (mass, validation, D=64, K=17, k=1)"
    assert tags["unit/test/bpd"] == "bits per dimension (mass, test, D=64, K=17, k=4)"


def test_what_an_older_version_wrote_is_mirrored_without_units(uri: str, tmp_path: Path, cell: Cell) -> None:
    root = tmp_path / "old"
    shutil.copytree(cell.root / "runs", root / "runs")
    shutil.copytree(cell.evaluation_folder, root / "evaluation")
    runtime = cell.settings.runtime.model_copy(update={"root": str(root)})
    old = Cell(cell.settings.model_copy(update={"runtime": runtime}))
    (old.run_folder / "units.json").unlink()
    path = root / "evaluation" / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"units": {"bits_per_dim": "from nll_nats", "scale": "mass"}}))
    mirror = Mirror(uri, tmp_path, cell.study)
    (root / "data").symlink_to(cell.root / "data")
    assert mirror.update_evaluation(old, root / "evaluation")
    found = mirror.client.get_run(mirror.children[cell.name].run_id).data
    assert found.metrics["test/bpd"] == metrics["bits_per_dim"]
    assert not [name for name in found.tags if name.startswith("unit/")]


def test_a_half_logged_run_is_completed(uri: str, tmp_path: Path, cell: Cell) -> None:
    half = tmp_path / "half"
    shutil.copytree(cell.run_folder, half)
    lines = (half / "history.csv").read_text().splitlines()
    (half / "history.csv").write_text("\n".join(lines[:2]) + "\n")
    for picture in half.glob("grids/*-0002.png"):
        picture.unlink()
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, half, "RUNNING")
    for child in mirror.children.values():
        child.lock.release()  # as the system does when a driver dies
    mirror_all(uri, tmp_path, cell)
    child = contents(MlflowClient(uri))[0]
    assert child[1] == "FINISHED"
    assert [step for key, step, _ in child[2] if key == "val/bpd"] == [1, 2]  # type: ignore[attr-defined]
    assert child[4] == 12


def test_only_one_process_mirrors_a_cell(uri: str, tmp_path: Path, cell: Cell) -> None:
    first, second = Mirror(uri, tmp_path, cell.study), Mirror(uri, tmp_path, cell.study)
    for mirror in (first, second):
        mirror.open_parent([cell], ["test"])
        mirror.update(cell, cell.run_folder, "RUNNING")
    assert list(first.children) == [cell.name]
    assert not second.children


def test_runs_of_dead_drivers_are_not_left_running(uri: str, tmp_path: Path, cell: Cell) -> None:
    mirror = Mirror(uri, tmp_path, cell.study)
    mirror.open_parent([cell], ["test"])
    mirror.update(cell, cell.run_folder, "RUNNING")
    run_id = mirror.children[cell.name].run_id
    mirror.client.set_tag(run_id, "driver", driver().rpartition(":")[0] + ":999999999")
    other = Mirror(uri, tmp_path, cell.study)
    other.open_parent([cell, cell.named("another")], ["test"])
    assert mirror.client.get_run(run_id).info.status == "KILLED"


def test_a_dead_server_costs_a_warning_and_no_result(
    cell: Cell, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = cell.settings
    tracking = settings.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})
    lost = Cell(settings.model_copy(update={"tracking": tracking}))
    sweep = Sweep(STAGES["train"], [lost])
    mirror = mirror_for(sweep, [], [])
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            mirror(sweep, False)
        mirror(sweep, True)
    assert time.monotonic() - began < 20
    warnings = [record.message for record in caplog.records if "make sync" in record.message]
    assert len(warnings) == 1
    assert len(warnings[0]) < 200


def test_tracking_can_be_off(cell: Cell, finished: Path) -> None:
    off = cell.settings.tracking.model_copy(update={"uri": "none"})
    quiet = Cell(cell.settings.model_copy(update={"tracking": off}))
    sweep = Sweep(STAGES["train"], [quiet])
    mirror = mirror_for(sweep, [], [])
    mirror(sweep, True)
    assert not isinstance(mirror, SweepMirror)
    assert not (finished / "mlflow.db").exists()


def test_addresses() -> None:
    assert store_uri(None, Path("/a b")) == "sqlite:////a b/mlflow.db"
    assert store_uri("postgresql+psycopg2://u@h/d", Path("/")) == "postgresql+psycopg2://u@h/d"
    with pytest.raises(SettingError, match=r"tracking\.uri=file:///x"):
        store_uri("file:///x", Path("/"))


def test_the_headline_is_logged_first_and_constants_are_not() -> None:
    row = dict.fromkeys(
        ["epoch", "learning_rate", "train_loss", "val_elbo", "val_bits_per_dim", "sigma"], "1"
    )
    assert in_order(row) == ["val_bits_per_dim", "val_elbo", "train_loss", "sigma"]


def test_whether_a_driver_lives() -> None:
    assert alive(driver())
    assert not alive(driver().rpartition(":")[0] + ":999999999")
    assert alive("another-machine:1")
    assert not alive("")


def test_the_prepared_view_fits_in_a_tag_and_colours_tell_likelihoods_apart() -> None:
    assert len(shared_view(20)) < 20_000
    state = json.loads(json.loads(shared_view(20))["state"])
    assert state["searchFilter"] == "tags.kind = 'train'"
    colours = {run_colour(name, size) for name in ("gaussian", "binomial") for size in (2, 8, 32)}
    assert len(colours) == 6
