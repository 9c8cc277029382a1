"""What tuning chose, in its file and as the cells of a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from processes import folder_with_data, run
from vae_likelihoods.errors import SettingError
from vae_likelihoods.sweeps.choices import Choice, Choices
from vae_likelihoods.sweeps.studies import grid

GAUSSIAN = {"likelihood": "gaussian", "latent_dim": 2}
TWO = Choices(
    [
        Choice(
            {"likelihood": "gaussian", "latent_dim": 2, "optimizer.lr": 0.002, "likelihood.scale": 0.3}, 1.5
        ),
        Choice({"likelihood": "binomial", "latent_dim": 3, "optimizer.lr": 0.01}, 2.5),
    ],
    {"trials": 4},
)


def jobs(choices: Choices, *words: str) -> list[list[str]]:
    return choices.jobs(OverridesParser.create().parse_overrides(list(words)))


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    TWO.write(tmp_path / "mine.yaml")
    assert Choices.read(tmp_path / "mine.yaml") == TWO
    Choices([]).write(tmp_path / "plain.yaml")
    assert Choices.read(tmp_path / "plain.yaml") == Choices([])
    assert "is not tuned" in (tmp_path / "plain.yaml").read_text()


def test_each_choice_is_combined_with_each_seed() -> None:
    found = jobs(TWO, "seed=1,2", "training.epochs=3")
    mark = "tuned=[likelihood.scale,optimizer.lr]"
    first = ["likelihood=gaussian", "latent_dim=2", "optimizer.lr=0.002", "likelihood.scale=0.3", mark]
    assert found[0] == [*first, "seed=1", "training.epochs=3"]
    assert [job[-2] for job in found] == ["seed=1", "seed=2"] * 2
    assert len(found) == 4


@pytest.mark.parametrize("word", ["optimizer.lr=1e-3", "likelihood=laplace", "latent_dim=2,4"])
def test_what_was_chosen_cannot_be_given_again(word: str) -> None:
    with pytest.raises(SettingError, match="is what tuning chose"):
        jobs(TWO, "seed=1", word)


def test_a_study_that_was_not_tuned_has_no_cells() -> None:
    with pytest.raises(SettingError, match="run the stage tune first"):
        jobs(Choices([]), "seed=1")


@pytest.mark.parametrize("text", ["", "choices: 3", "choices: [{latent_dim: 2}]", "[", "choices: [1]"])
def test_a_damaged_file_is_refused_with_the_command_that_mends_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SettingError, match=r"is damaged; run `[.]venv/bin/dvc repro tune@mine`"):
        Choices.read(path)
    with pytest.raises(SettingError, match="there is no such file"):
        Choices.read(tmp_path / "absent.yaml")


@pytest.fixture
def tuned_root(prepared_root: Path, tmp_path: Path) -> Path:
    """A folder of results with choices for a study `mine`."""
    root = folder_with_data(prepared_root, tmp_path)
    TWO.write(root / "tune" / "mine.yaml")
    return root


def words_of(root: Path, *more: str) -> list[str]:
    return ["-m", "hydra/sweeper=tuned", f"hydra.sweeper.choices='{root / 'tune' / 'mine.yaml'}'", *more]


def test_a_sweep_trains_the_choices_as_cells_of_one_study(tuned_root: Path) -> None:
    words = words_of(tuned_root, "study=mine", "seed=1,2", "tracking=none")
    first = run("train", tuned_root, *words).stdout
    assert "train mine: 4 done" in first
    cells = {path.name for path in (tuned_root / "runs" / "mine").iterdir()}
    assert cells == {f"{name}-{seed}" for name in ("gaussian-2", "binomial-3") for seed in (1, 2)}
    config = yaml.safe_load((tuned_root / "runs" / "mine" / "gaussian-2-1" / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.002
    assert config["likelihood"]["scale"] == 0.3
    assert config["tuned"] == ["likelihood.scale", "optimizer.lr"]
    assert "train mine: 4 taken from the store" in run("train", tuned_root, *words).stdout
    # The command that is named for the next stage works as it stands.
    following = next(line for line in first.splitlines() if line.startswith("next:"))
    assert "hydra/sweeper=tuned" in following
    refused = run("train", tuned_root, *words_of(tuned_root, "optimizer.lr=1"), code=1).stderr
    assert "is what tuning chose" in refused
    assert refused.count("\n") == 1


def test_the_grid_of_a_tuned_study_is_what_its_sweep_trains(
    tuned_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = {
        "dataset": "digits",
        "levels": 17,
        "likelihood": "gaussian,binomial",
        "latent_dim": "2,3",
        "seed": "1,2",
        "options": "training.epochs=3",
        "tune": {"trials": 4},
    }
    cells = grid("mine", study, tuned_root)
    assert [cell.name for cell in cells] == ["gaussian-2-1", "gaussian-2-2", "binomial-3-1", "binomial-3-2"]
    assert {cell.settings.optimizer["lr"] for cell in cells} == {0.002, 0.01}
