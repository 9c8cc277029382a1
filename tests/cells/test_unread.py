"""What a model does not read of a configuration is no part of its cell."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import OmegaConf

from conftest import CONF
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.settings import read
from vae_likelihoods.cells.unread import OF_STEPS, unread
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT

MakeCell = Callable[..., Cell]
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
WORDS = {model: [f"model={model}", "levels=2", "likelihood=bernoulli"] for model in MODELS}
# Settings of parts that some models do not read, and other values than the usual ones.
OTHER = {
    "likelihood": ["likelihood=beta_binomial"],
    "latent_dim": ["latent_dim=3"],
    "network": ["network=tanh_mlp"],
    "objective": ["objective.beta=2"],
    "optimizer": ["optimizer.lr=0.07"],
    "training.batch_size": ["training.batch_size=17"],
    "training.warmup_steps": ["training.warmup_steps=3"],
}


@pytest.mark.parametrize("part", OTHER)
@pytest.mark.parametrize("model", MODELS)
def test_a_setting_is_in_the_key_and_the_name_just_if_it_is_read(
    small_cell: MakeCell, model: str, part: str
) -> None:
    if model == "from_means" and part == "likelihood":
        pytest.skip("bernoulli alone can start at means")
    usual, other = (small_cell(*WORDS[model], *changes) for changes in ([], OTHER[part]))
    read_by_model = part not in unread(usual.settings.model)
    assert (usual.key != other.key) == read_by_model
    if part in ("likelihood", "latent_dim"):
        assert (usual.name != other.name) == read_by_model
    if not read_by_model:
        assert usual.settings == other.settings.model_copy(update={"training": usual.settings.training})
        assert usual.description() == other.description()


@pytest.mark.parametrize("model", MODELS)
def test_a_name_says_what_is_read(small_cell: MakeCell, model: str) -> None:
    cell = small_cell(*WORDS[model], "latent_dim=3", "seed=4")
    ignored = unread(cell.settings.model)
    whole = {"network", "likelihood", "latent_dim"}.isdisjoint(ignored)
    words = [
        *([] if whole else [model]),
        *([] if "likelihood" in ignored else ["bernoulli"]),
        *([] if "latent_dim" in ignored else ["3"]),
        "4",
    ]
    assert cell.name == "-".join(words)
    assert cell.settings.flat["likelihood"] == cell.settings.family


@pytest.mark.parametrize("model", MODELS)
def test_a_cell_is_read_again_from_its_config_yaml(small_cell: MakeCell, model: str) -> None:
    cell = small_cell(*WORDS[model])
    rest = {"dataset": {}, "metric": {}, "tracking": {"uri": None}}
    runtime = OmegaConf.load(PROJECT / "conf/runtime/default.yaml")
    again = Cell(read(OmegaConf.create({**cell.description(), **rest, "runtime": runtime})))
    assert again.settings.learned == cell.settings.learned
    assert again.name == cell.name


def test_what_an_optimiser_alone_reads_are_settings_of_training() -> None:
    assert set(OF_STEPS) < set(OmegaConf.load(CONF / "training" / "default.yaml"))


def test_a_model_that_cannot_be_imported_is_refused_for_that(small_cell: MakeCell) -> None:
    with pytest.raises(SettingError, match=r"model\._target_=nobodys\.Nothing: cannot be imported"):
        small_cell("model._target_=nobodys.Nothing")


def test_a_model_that_fits_itself_is_fitted_by_one_process(small_cell: MakeCell) -> None:
    with pytest.raises(SettingError, match="fits itself, in one process"):
        small_cell("model=independent", "runtime.processes=2")
