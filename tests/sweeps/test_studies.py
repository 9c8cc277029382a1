"""The cells of a study are those that its sweep has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps import studies
from vae_likelihoods.sweeps.studies import quoted

AXES = {
    "dataset": "digits",
    "levels": 17,
    "likelihood": "binomial",
    "latent_dim": "2",
    "seed": 0,
    "options": "",
}


def names(root: Path, **axes: Any) -> list[str]:
    return [cell.name for cell in studies.grid("mine", {**AXES, **axes}, root)]


def test_every_axis_is_expanded(tmp_path: Path) -> None:
    places = names(tmp_path, likelihood="binomial,gaussian", latent_dim="range(2,4)", seed="0,5")
    assert places == [
        f"{likelihood}-{latent_dim}-{seed}"
        for likelihood in ("binomial", "gaussian")
        for latent_dim in (2, 3)
        for seed in (0, 5)
    ]


def test_options_hold_for_every_cell_and_may_be_axes_too(tmp_path: Path) -> None:
    options = "training.epochs=3 'network.hidden=[8],[8, 9]' optimizer.lr=1e-2"
    cells = studies.grid("mine", {**AXES, "options": options}, tmp_path)
    assert [cell.name for cell in cells] == ["binomial-2-0-hidden=8", "binomial-2-0-hidden=8,9"]
    assert [cell.settings.network["hidden"] for cell in cells] == [[8], [8, 9]]
    assert {cell.settings.training.epochs for cell in cells} == {3}
    assert {cell.settings.optimizer["lr"] for cell in cells} == {0.01}
    assert {(cell.study, cell.root) for cell in cells} == {("mine", tmp_path)}


def test_the_key_is_that_of_a_pipeline_script(small_cell: Callable[..., Cell], prepared_root: Path) -> None:
    options = "network.hidden=[16] training.epochs=2 training.grid_epochs=1"
    (cell,) = studies.grid("mine", {**AXES, "options": options}, prepared_root)
    assert cell.key == small_cell("likelihood=binomial", "latent_dim=2").key


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"likelihood": "poisson"}, "poisson"),
        ({"options": "training.epochs=-1"}, "training.epochs=-1"),
        ({"options": "trainings=1"}, "trainings"),
        ({"latent_dim": "2,"}, "cannot be composed"),
        ({"levels": "${nowhere}"}, "nowhere"),
    ],
)
def test_what_cannot_be_composed_is_one_line_that_names_the_study(
    tmp_path: Path, axes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=r"^study=mine: cannot be composed: ") as refusal:
        studies.grid("mine", {**AXES, **axes}, tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_studies_are_the_default_and_the_optional_ones(tmp_path: Path) -> None:
    assert {"binary", "grey", "likelihoods"} <= set(studies.axes(PROJECT / "params.yaml"))
    (tmp_path / "params.yaml").write_text("studies:\n  one: {seed: 0}\n")
    assert studies.axes(tmp_path / "params.yaml") == {"one": {"seed": 0}}
    with pytest.raises(SettingError, match="no such file"):
        studies.axes(tmp_path / "absent.yaml")


def test_the_store_is_that_of_the_pipeline_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAE_LIKELIHOODS_STORE", raising=False)
    assert studies.runtime(tmp_path).cell_store == tmp_path / ".cells"
    monkeypatch.setenv("VAE_LIKELIHOODS_STORE", str(tmp_path / "elsewhere"))
    assert studies.runtime(tmp_path).cell_store == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"seed": None}, "lacks seed"),
        ({"latent_dim": [2, 8]}, r"studies.mine.latent_dim=\[2, 8\]: must be written as a Hydra sweep"),
        ({"options": "network.hidden='[8"}, "options=.*cannot be split into words"),
        ({"levels": "${nowhere}"}, "study=mine: cannot be composed: .*nowhere"),
    ],
)
def test_a_study_that_is_no_sweep_is_one_line_that_says_where(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as refusal:
        studies.overrides("mine", OmegaConf.create({**AXES, **axes}))
    assert len(str(refusal.value).splitlines()) == 1


def test_the_name_of_a_study_stands_for_its_sweep(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        """
studies:
  mine: {dataset: digits, levels: 17, likelihood: glob(gaussian*), latent_dim: 2, seed: "range(0,2)",
         options: "'network.hidden=[8],[8, 9]'"}
"""
    )
    words = studies.expanded(["--study", "mine", "training.epochs=1"], tmp_path / "params.yaml")
    assert words == [
        *("--multirun", "dataset=digits", "levels=17", "likelihood=glob(gaussian*)", "latent_dim=2"),
        *("seed=range(0,2)", "network.hidden=[8],[8, 9]", "study=mine", "training.epochs=1"),
    ]
    cells = studies.cells_of(words[1:], tmp_path)
    assert {cell.settings.seed for cell in cells} == {0, 1}
    assert {cell.settings.names["likelihood"] for cell in cells} == {
        path.stem for path in (PROJECT / "conf" / "likelihood").glob("gaussian*.yaml")
    }
    assert studies.expanded(["-m", "seed=0"], tmp_path / "absent.yaml") == ["-m", "seed=0"]
    with pytest.raises(SettingError, match=r"study=yours: is not in .*Choices: mine\.$"):
        studies.expanded(["--study=yours"], tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "value", ["it's", r"a\'b", "a\\", "(x)[y],=#% {z}", '"q"', "null", "1", r"\\", "", " a ", r"a\\'\\"]
)
def test_a_quoted_text_is_read_back(value: str) -> None:
    words = [f"a={quoted(value)}", f"b=[{quoted(value)},{quoted(value)}]"]
    one, two = OverridesParser.create().parse_overrides(words)
    assert one.value() == value
    assert two.value() == [value, value]
