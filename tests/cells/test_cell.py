"""What makes two cells the same, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from vae_likelihoods.cells.cell import Cell, differences
from vae_likelihoods.errors import SettingError
from vae_likelihoods.sweeps.stages import STAGES

Compose = Callable[..., DictConfig]


@pytest.fixture
def cell(prepared_root: Path, configuration: Compose) -> Callable[..., Cell]:
    def made(*overrides: str) -> Cell:
        small = ["dataset=digits", "likelihood=binomial", "training.epochs=1"]
        small += [] if "network=linear" in overrides else ["network.hidden=[4]"]
        root = f"runtime.root='{prepared_root}'"
        return Cell.of(configuration(root, *small, "tracking=none", "runtime.device=cpu", *overrides))

    return made


@pytest.mark.parametrize(
    "override",
    [
        "runtime.threads=2",
        "runtime.checkpoint_seconds=99",
        "tracking=mlflow",
        "metric.bound.samples=7",
        "study=other",
        "cell=other",
        "dataset.split_seed=0",
    ],
)
def test_what_changes_no_number_changes_no_key(cell: Callable[..., Cell], override: str) -> None:
    assert cell(override).key == cell().key


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "latent_dim=3",
        "levels=2",
        "likelihood=gaussian",
        "network.hidden=[5]",
        "network=linear",
        "objective=iwae",
        "objective.beta=2",
        "optimizer.lr=0.1",
        "training.epochs=2",
        "training.precision=bfloat16",
    ],
)
def test_what_changes_numbers_changes_the_key(cell: Callable[..., Cell], override: str) -> None:
    assert cell(override).key != cell().key


def test_stochastic_pixels_are_another_cell(cell: Callable[..., Cell]) -> None:
    assert cell("levels=2", "binarize=stochastic").key != cell("levels=2").key


def test_cells_of_different_likelihoods_hang_on_different_code(cell: Callable[..., Cell]) -> None:
    first, other = (
        cell(f"likelihood={name}").training_identity.code.definitions for name in ("binomial", "kumaraswamy")
    )
    assert "vae_likelihoods.likelihoods.binomial:Binomial" in first.keys() - other.keys()
    assert "vae_likelihoods.likelihoods.kumaraswamy:Kumaraswamy" in other.keys() - first.keys()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("likelihood=bernoulli", "likelihood=bernoulli: cannot model levels=17"),
        ("levels=18", "levels=18"),
        ("levels=1", "levels=1"),
        ("binarize=stochastic", "binarize=stochastic"),
        ("network.hidden=[]", "network.hidden=[]"),
        ("objective.beta=-1", "objective.beta=-1"),
        ("runtime.device=mps", "runtime.device=mps"),
        ("+network.depth=3", "network={'hidden': [4], 'depth': 3}: "),
        ("network.hidden=64", "network.hidden=64: must be a list of widths"),
        ("optimizer.lr=-1", "optimizer.lr=-1: Invalid learning rate."),
        ("likelihood=gaussian likelihood.scale=-1", "likelihood.scale=-1"),
    ],
)
def test_a_cell_that_cannot_be_is_refused_by_name(
    cell: Callable[..., Cell], override: str, message: str
) -> None:
    with pytest.raises(SettingError) as refusal:
        cell(*override.split())
    assert message in str(refusal.value)


def test_the_refusal_of_a_likelihood_lists_those_that_can(cell: Callable[..., Cell]) -> None:
    with pytest.raises(SettingError) as refusal:
        cell("likelihood=bernoulli")
    assert "beta_binomial" in refusal.value.choices
    assert "bernoulli" not in refusal.value.choices


def test_evaluation_wants_the_cell_that_was_trained(cell: Callable[..., Cell]) -> None:
    first = cell("study=checks", "seed=5")
    with pytest.raises(SettingError, match="does not exist"):
        first.evaluated  # noqa: B018
    STAGES["train"].perform(first.named(first.name), lambda record: None)
    assert len(cell("study=checks", "seed=5", f"cell={first.name}").evaluated.folder.name) == 64
    with pytest.raises(SettingError, match=r"training\.epochs=1, this configuration says 2"):
        cell("study=checks", "seed=5", "training.epochs=2").evaluated  # noqa: B018


def test_a_laid_out_cell_is_read_back(cell: Callable[..., Cell], prepared_root: Path) -> None:
    first = cell("study=checks", "seed=6")
    STAGES["train"].perform(first, lambda record: None)
    assert Cell.laid_out(first.run_folder, prepared_root).key == first.key


def test_differences_name_the_path() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == [("a.c", 2, 3)]
    assert differences({"a": 1}, {}) == [("a", 1, None)]
