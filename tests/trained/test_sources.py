"""What names a model beside its folder: a folder of results, a study, and where an answer has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vae_likelihoods as vl
from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import best
from vae_likelihoods.trained import loading


@pytest.fixture
def answer(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder answers/tiny here, as an answer leaves it, with one study; the project has nothing."""
    folder = tmp_path / "here" / "answers" / "tiny"
    folder.mkdir(parents=True)
    for name in ("evaluations", "runs", "params.yaml"):
        (tiny_root / name).rename(folder / name)
    monkeypatch.chdir(tmp_path / "here")
    for module in (best, loading):
        monkeypatch.setattr(module, "PROJECT", tmp_path / "nowhere")
    return folder


def refused(source: str | Path) -> str:
    with pytest.raises(SettingError) as error:
        vl.load(source, device="cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_answer_is_its_best_model(answer: Path) -> None:
    cell = best.of_study("tiny", answer).cell
    for source in ("answers/tiny", Path("answers/tiny"), str(answer), "tiny"):
        assert vl.load(source, device="cpu").config["cell"] == cell
    Path("tiny").mkdir()  # the pictures, say
    assert vl.load("tiny", device="cpu").config["cell"] == cell


def test_the_project_comes_before_an_answer(answer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (other,) = {each.name for each in (answer / "runs" / "tiny").iterdir()} - {
        best.of_study("tiny", answer).cell
    }
    project = answer.parents[2] / "project"
    shutil.copytree(answer, project)
    for results in ("evaluations", "runs"):
        shutil.rmtree(project / results / "tiny" / best.of_study("tiny", answer).cell)
    monkeypatch.setattr(loading, "PROJECT", project)
    assert vl.load("tiny", device="cpu").config["cell"] == other


def test_several_studies_and_none_are_one_line(answer: Path) -> None:
    assert refused("tinny").endswith("in the project or in answers/. Did you mean tiny?")
    shutil.copytree(answer / "evaluations" / "tiny", answer / "evaluations" / "second")
    said = "source=answers/tiny: several studies were evaluated in it; name the folder of a cell"
    assert refused("answers/tiny").startswith(said)
    assert refused("answers/tiny").endswith("Choices: second, tiny.")
    shutil.rmtree(answer / "evaluations")
    assert refused("answers/tiny").endswith("has no config.yaml), and no study was evaluated in it.")
    assert "no evaluated study of this name" in refused("tiny")
    assert "there is no such folder" in refused("answers/nosuch")


def test_the_mlflow_of_an_answer_is_named(answer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert refused("models:/tiny@best").endswith("has no mlflow.db; set MLFLOW_TRACKING_URI.")
    database = answer / "mlflow.db"
    database.touch()
    for address in ("models:/tiny@best", "models:/tiny/1"):
        assert refused(address).endswith(f"MLFLOW_TRACKING_URI=sqlite:///{database}.")
    assert refused("models:/other@best").endswith("set MLFLOW_TRACKING_URI.")
