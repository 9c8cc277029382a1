"""What people do in MLflow's UI and to the folders beside it: sync still brings everything, and once."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from vae_likelihoods.cli.app import main
from vae_likelihoods.tracking.moved import follow

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own and its dependencies'

CELLS = ("binomial-2-0", "gaussian-2-0")
ONCE = Counter([*CELLS, "tiny sweep"])


@pytest.fixture
def root(tiny_root: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study `tiny`, in MLflow."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(database, tiny_root / "mlflow.db")
    assert sync(tiny_root) == 0
    return tiny_root


def sync(root: Path) -> int:
    return main(["sync", "--root", str(root)])


def client(root: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


def active(root: Path) -> Counter[str]:
    """Return how many active runs have a name, in all active experiments."""
    ids = [each.experiment_id for each in client(root).search_experiments()]
    return Counter(run.info.run_name for run in client(root).search_runs(ids))


def artifacts(root: Path) -> list[int]:
    """Return how many artifacts the run of each cell has."""
    ids = [each.experiment_id for each in client(root).search_experiments()]
    runs = client(root).search_runs(ids, "tags.kind = 'train'")
    return [len(client(root).list_artifacts(run.info.run_id)) for run in runs]


def delete_cells(mlflow: MlflowClient, experiment: str) -> None:
    for run in mlflow.search_runs([experiment], "tags.kind = 'train'"):
        mlflow.delete_run(run.info.run_id)


def delete_parents(mlflow: MlflowClient, experiment: str) -> None:
    for run in mlflow.search_runs([experiment], "tags.kind = 'sweep'"):
        mlflow.delete_run(run.info.run_id)


def delete_experiment(mlflow: MlflowClient, experiment: str) -> None:
    mlflow.delete_experiment(experiment)


def rename(mlflow: MlflowClient, experiment: str) -> None:
    mlflow.rename_experiment(experiment, "paper figure 2")


def restore_runs(mlflow: MlflowClient, experiment: str) -> None:
    for run in mlflow.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY):
        mlflow.restore_run(run.info.run_id)


EDITS = {
    "cells deleted": [delete_cells],
    "parents deleted": [delete_parents],
    "experiment deleted": [delete_experiment],
    "cells deleted, then the experiment": [delete_cells, delete_parents, delete_experiment],
    "renamed": [rename],
    "renamed and deleted": [rename, delete_experiment],
    "deleted and restored": [delete_cells, delete_parents, restore_runs],
}


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_after_any_edit_sync_has_everything_once(
    root: Path, edits: list[Callable[[MlflowClient, str], None]]
) -> None:
    mlflow = client(root)
    experiment = str(mlflow.get_experiment_by_name("tiny").experiment_id)
    for edit in edits:
        edit(mlflow, experiment)
        assert sync(root) == 0
        assert active(root) == ONCE, edit
    assert min(artifacts(root)) > 2
    names = [each.name for each in mlflow.search_experiments() if each.name != "Default"]
    assert names == ["paper figure 2" if rename in edits else "tiny"]


def test_a_name_that_another_study_has_in_mlflow_is_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "runs" / "tiny").rename(root / "runs" / "other")
    mlflow = client(root)
    mlflow.rename_experiment(mlflow.get_experiment_by_name("tiny").experiment_id, "other")
    assert sync(root) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "sync: study=other: MLflow's experiment of this name has the runs of the study tiny"
    )
    assert active(root) == ONCE


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_artifacts_follow_the_folder_of_results(root: Path, tmp_path: Path, how: str) -> None:
    new = tmp_path / "new place"
    (root.rename if how == "moved" else lambda new: shutil.copytree(root, new, symlinks=True))(new)
    before = set(tmp_path.rglob("*")) - set(new.rglob("*"))
    shutil.rmtree(new / "runs" / "tiny" / CELLS[0])
    shutil.copytree(new / "runs" / "tiny" / CELLS[1], new / "runs" / "late" / CELLS[1])
    assert sync(new) == 0
    addresses = sqlite3.connect(new / "mlflow.db").execute("select artifact_uri from runs").fetchall()
    assert all(address.startswith((new / "mlartifacts").as_uri() + "/") for (address,) in addresses)
    assert min(artifacts(new)) > 2
    assert set(tmp_path.rglob("*")) - set(new.rglob("*")) == before  # nothing at the old place


def test_addresses_elsewhere_and_files_that_are_no_database_stay_as_they_are(root: Path) -> None:
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("update experiments set artifact_location = 's3://bucket/mlartifacts/tiny'")
    follow(root / "mlflow.db")
    with sqlite3.connect(root / "mlflow.db") as database:
        assert {row for (row,) in database.execute("select artifact_location from experiments")} == {
            "s3://bucket/mlartifacts/tiny"
        }
    (root / "note").write_text("no database " * 100)
    follow(root / "note")
    assert (root / "note").read_text() == "no database " * 100


def test_artifacts_that_are_gone_are_brought_again(root: Path) -> None:
    shutil.rmtree(root / "mlartifacts")
    assert sync(root) == 0
    assert min(artifacts(root)) > 2
    assert active(root) == ONCE


def test_what_is_no_study_or_damaged_keeps_no_other_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = root / "runs"
    (runs / "aa").mkdir()
    (runs / "notes.txt").write_text("hello")
    for study in ("ab", "zz"):
        shutil.copytree(runs / "tiny", runs / study)
    (runs / "ab" / CELLS[0] / "config.yaml").write_text("{ no yaml")
    (runs / "ab" / CELLS[1] / "model.safetensors").unlink()
    (runs / "zz" / CELLS[0] / "history.csv").write_bytes(b"\xff\xfe")
    capsys.readouterr()
    assert sync(root) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["sync: tiny, 2 cells", "sync: zz, 1 cell"]
    empty, damaged, one = printed.err.splitlines()
    assert empty.startswith(f"sync: study=aa: there is no cell in {runs / 'aa'}")
    assert all(f"runs/ab/{cell} cannot be read" in damaged for cell in CELLS)
    assert one.startswith(f"sync: runs/zz/{CELLS[0]} cannot be read")


def test_a_database_of_another_version_is_one_line_with_the_command(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(root, tmp_path / "older", symlinks=True)  # MLflow checks a database once
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = 'cfd24bdc0731'")
    capsys.readouterr()
    for command in (["sync"], ["ui", "--port", "5987"]):
        assert main([*command, "--root", str(root)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"`.venv/bin/mlflow db upgrade sqlite:///{root / 'mlflow.db'}`" in line


@pytest.mark.parametrize("name", ["feature%2Fx", "C# é", "what?x=1"])
def test_a_folder_that_cannot_have_a_database_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    (tmp_path / name / "runs").mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    for command in ("sync", "ui"):
        assert main([command, "--root", str(tmp_path / name)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"{command}: root={tmp_path / name}: MLflow cannot have a database in a folder"
        )
    assert set(tmp_path.rglob("*")) == before
