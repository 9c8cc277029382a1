"""The stage tune: a race of real processes, its file, and what the report says of it."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from processes import Started
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.search.choosing import asked
from vae_likelihoods.search.command import tune_study
from vae_likelihoods.search.tuning import Budget, race_of
from vae_likelihoods.sweeps.choices import Choice, Choices

STUDY: dict[str, Any] = {
    "dataset": "digits",
    "levels": 17,
    "likelihood": "binomial,gaussian",
    "latent_dim": "2,4",
    "seed": "1,2",
    "options": "network.hidden=[8] training.epochs=6 training.warmup_steps=2 training.grid_epochs=6 "
    "runtime.device=cpu training.batch_size=256",
    "tune": {"trials": 3},
}


@pytest.fixture
def root(prepared_root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "a root"
    folder.mkdir()
    (folder / "data").symlink_to(prepared_root / "data")
    write(folder, STUDY)
    return folder


def write(root: Path, study: dict[str, Any]) -> None:
    plain = {key: value for key, value in STUDY.items() if key != "tune"}
    (root / "params.yaml").write_text(yaml.safe_dump({"studies": {"mine": study, "plain": plain}}))


def test_a_study_is_tuned_and_again_it_costs_nothing(root: Path) -> None:
    said = tune_study("mine", root / "params.yaml", root)
    assert said.startswith("mine: ")
    written = (root / "tune" / "mine.yaml").read_text()
    content = yaml.safe_load(written)
    assert {choice["likelihood"] for choice in content["choices"]} == {"binomial", "gaussian"}
    scores = [choice["validation_bits_per_dim"] for choice in content["choices"]]
    assert scores == sorted(scores)
    race = content["race"]
    assert race["rungs"] == [2, 6]
    assert {own["epochs"] for own in race["likelihoods"].values()} == {3 * 2 + 2 * 4}
    for own in race["likelihoods"].values():
        assert own["tuned_bits_per_dim"] <= own["default_bits_per_dim"]
    log = json.loads((root / "logs" / "tune" / "mine.json").read_text())
    assert len(log["trials"]) == 6
    assert min(log["seconds"].values()) > 0
    keys = {path.name: path.stat().st_mtime_ns for path in (root / ".cells").glob("*/DONE")}
    tune_study("mine", root / "params.yaml", root, again=True)
    assert (root / "tune" / "mine.yaml").read_text() == written
    assert {path.name: path.stat().st_mtime_ns for path in (root / ".cells").glob("*/DONE")} == keys


def test_frozen_choices_stay_while_the_race_would_be_the_same(root: Path) -> None:
    race, _ = race_of("mine", STUDY, root)
    choice = Choice({"likelihood": "binomial", "latent_dim": 2, "optimizer.lr": 0.007}, 0.5)
    path = root / "tune" / "mine.yaml"
    Choices([choice], {}, asked(race, 4)).write(path)  # of another machine, perhaps
    frozen = path.read_text()
    assert "stays" in tune_study("mine", root / "params.yaml", root)
    write(root, {**STUDY, "seed": "1,2,3"})  # of the models that are scored, not of the race
    assert "stays" in tune_study("mine", root / "params.yaml", root)
    assert path.read_text() == frozen
    assert not (root / ".cells").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"tune": {"trials": 2}},
        {"tune": {"trials": 3, "seed": 7}},
        {"levels": 16},
        {"likelihood": "binomial"},
        {"latent_dim": "2,3"},
        {"options": STUDY["options"].replace("epochs=6", "epochs=7")},
        {"options": f"{STUDY['options']} optimizer.lr=0.004"},
    ],
)
def test_another_race_is_asked_for_by_any_change_of_its_trials(root: Path, change: dict[str, Any]) -> None:
    race, _ = race_of("mine", STUDY, root)
    other, _ = race_of("mine", {**STUDY, **change}, root)
    assert asked(other, 4) != asked(race, 4) != asked(race, 5)


@pytest.mark.slow
def test_a_race_whose_driver_is_killed_goes_on_to_the_same_choices(root: Path, tmp_path: Path) -> None:
    study = {**STUDY, "options": STUDY["options"].replace("epochs=6", "epochs=60")}
    write(root, study)
    words = ["--study", "mine", "--params", str(root / "params.yaml"), "--root", str(root)]
    command = [sys.executable, str(PROJECT / "pipelines" / "tune.py"), *words]
    killed = Started(command, tmp_path / "killed")
    while killed.alive and not list((root / ".cells").glob("*/checkpoint.pt")):
        time.sleep(0.05)
    killed.send(signal.SIGKILL, group=True)
    killed.end()
    assert not (root / "tune" / "mine.yaml").exists()
    Started(command, tmp_path / "second").end(0)
    resumed = (root / "tune" / "mine.yaml").read_text()
    for path in [*(root / ".cells").rglob("*"), root / "tune" / "mine.yaml"]:
        if path.is_file():
            path.unlink()
    Started(command, tmp_path / "straight").end(0)
    assert (root / "tune" / "mine.yaml").read_text() == resumed


def test_a_study_without_tune_gets_a_file_that_says_so(root: Path) -> None:
    assert "not tuned" in tune_study("plain", root / "params.yaml", root)
    assert yaml.safe_load((root / "tune" / "plain.yaml").read_text()) == {"choices": []}


def test_what_the_options_set_is_not_searched(root: Path) -> None:
    race, _ = race_of("mine", {**STUDY, "options": f"{STUDY['options']} optimizer.lr=0.004"}, root)
    assert all("optimizer.lr" not in trial.settings for trial in race.trials)
    assert {trial.cell.settings.optimizer["lr"] for trial in race.trials} == {0.004}


def test_all_likelihoods_try_the_same_points_and_begin_with_the_defaults(root: Path) -> None:
    race, _ = race_of("mine", {**STUDY, "likelihood": "binomial,beta_binomial"}, root)
    of_binomial, of_beta = (
        [trial.settings for trial in race.trials if trial.likelihood == name]
        for name in ("binomial", "beta_binomial")
    )
    assert of_binomial == of_beta
    assert race.trials[0].settings["optimizer.lr"] == 3e-3
    assert {trial.cell.settings.seed for trial in race.trials} == {0}
    assert len({trial.cell.key for trial in race.trials}) == 6


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tune": {"seed": 2}}, "choices need fresh seeds"),
        ({"tune": {"trials": 0}}, "trials=0: must be at least 1"),
        ({"tune": {"budget": 3}}, "budget=3: there is no such setting"),
        ({"tune": 3}, "must be a mapping"),
        ({"likelihood": "binomial,nosuch"}, "nosuch"),
        ({"levels": 300}, "levels"),
        ({"dataset": "nosuch"}, "nosuch"),
    ],
)
def test_an_impossible_race_is_refused_before_it_begins(
    root: Path, change: dict[str, Any], reason: str
) -> None:
    write(root, {**STUDY, **change})
    with pytest.raises(SettingError, match=reason):
        tune_study("mine", root / "params.yaml", root)
    assert not (root / ".cells").exists()
    assert not (root / "tune").exists()


def test_an_empty_tune_has_the_defaults() -> None:
    assert Budget.read("mine", None) == Budget.read("mine", {}) == Budget()


def test_a_study_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(SettingError, match=r"is not in .*Choices: mine, plain"):
        tune_study("nosuch", root / "params.yaml", root)
