"""Every YAML in conf/experiment: it composes, its cells are distinct, and it says what the paper says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from vae_likelihoods.cells.build import (
    build_likelihood,
    build_metrics,
    build_model,
    build_objective,
    build_optimizer,
)
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.settings import read
from vae_likelihoods.errors import SettingError
from vae_likelihoods.experiments.collecting import experiment_of, grid, names
from vae_likelihoods.files import PROJECT
from vae_likelihoods.objectives.several_draws import IWAE, AveragedELBO

YAMLS = sorted(path.stem for path in (PROJECT / "conf" / "experiment").glob("*.yaml"))
# Configurations; each has three seeds, but those of Fashion-MNIST.
SIZES = {
    "iwae": 6, "iwae-fashion_mnist": 3, "iwae-mnist": 6, "sigma_vae": 12, "dont_blame_the_elbo": 7,
    "continuous_bernoulli": 2, "cross_entropy_on_grey": 2, "fashion_mnist": 1, "fashion_fitted": 3,
    "fashion_vae": 1, "fashion_made": 1, "fashion_pixelcnn": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def grids() -> dict[str, list[Cell]]:
    """The cells of seed 2: to compose all takes long."""
    return {name: grid(name, ["seed=2"]) for name in YAMLS}


def test_every_yaml_belongs_to_an_experiment() -> None:
    parts = {part for name in names() for part in experiment_of(name).parts}
    assert set(YAMLS) == set(names()) | parts == set(SIZES)


@pytest.mark.parametrize("name", YAMLS)
def test_the_grid_is_whole_and_every_cell_can_be_built(name: str, grids: dict[str, list[Cell]]) -> None:
    cells = grids[name]
    assert len({cell.name for cell in cells}) == len(cells) == SIZES[name]
    assert {cell.study for cell in cells} == {name}
    sweep = OmegaConf.load(PROJECT / "conf" / "experiment" / f"{name}.yaml").get("hydra")
    assert sweep is None or sweep.sweeper.params.get("seed", "0,1,2") == "0,1,2"
    for cell in {str(cell.settings.learned): cell for cell in cells}.values():
        build_objective(cell.settings)
        build_metrics(cell.settings)
        if cell.settings.likelihood:
            build_likelihood(cell.settings, channels=1)
        build_optimizer(cell.settings, build_model(cell.settings, (1, 28, 28)))


def test_one_run_without_a_sweep_is_a_cell_of_it(
    configuration: Callable[..., DictConfig], grids: dict[str, list[Cell]]
) -> None:
    alone = read(configuration("experiment=iwae", "objective=iwae", "objective.samples=50", "seed=2"))
    (same,) = (cell for cell in grids["iwae"] if cell.settings.learned == alone.learned)
    assert same.name == "bernoulli-50-2-objective=iwae-samples=50"
    assert same.settings.names == alone.names


def test_overrides_go_before_the_experiment_and_its_axes(tmp_path: Path) -> None:
    cells = grid("iwae", ["seed=7", "training.epochs=2", f"runtime.root={tmp_path}", "objective=iwae"])
    assert len(cells) == 3
    assert {cell.settings.seed for cell in cells} == {7}
    assert {cell.settings.training.epochs for cell in cells} == {2}
    assert {cell.root for cell in cells} == {tmp_path}


def test_iwae_has_the_papers_protocol(grids: dict[str, list[Cell]]) -> None:
    """Burda et al. 2016, section 5 and table 1."""
    for cell in grids["iwae-mnist"]:
        settings = cell.settings
        assert (settings.levels, settings.binarize, settings.latent_dim) == (2, "stochastic", 50)
        assert settings.network["hidden"] == [200, 200]
        training = settings.training
        assert (training.epochs, training.batch_size, training.warmup_steps) == (3280, 20, 0)
        assert (training.schedule, training.keep) == ("stages", "last")
        assert settings.optimizer["lr"] == 1e-3
        assert settings.optimizer["betas"] == [0.9, 0.999]
        assert settings.optimizer["eps"] == pytest.approx(1e-4 / settings.training.batch_size)
        assert settings.metric["bound"]["samples"] == 5000
    objectives = {build_objective(cell.settings) for cell in grids["iwae-mnist"]}
    assert objectives == {kind(k) for kind in (AveragedELBO, IWAE) for k in (1, 5, 50)}


def test_the_wrong_loss_differs_from_the_right_one_in_the_loss_alone(grids: dict[str, list[Cell]]) -> None:
    for right, wrong in zip(grids["continuous_bernoulli"], grids["cross_entropy_on_grey"], strict=True):
        assert right.name == wrong.name
        assert wrong.settings.objective == {
            "_target_": "vae_likelihoods.gallery.cross_entropy.CrossEntropyOnGrey"
        }
        assert {**right.settings.learned, "objective": {}} == {**wrong.settings.learned, "objective": {}}
        assert wrong.settings.names["objective"] == "cross_entropy_on_grey"


@pytest.mark.parametrize("name", ["nonsense", "", "cross_entropy_on_grey"])
def test_what_is_no_experiment_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(
        SettingError, match=r"^experiment=.*Choices: .*dont_blame_the_elbo, .*iwae, .*sigma_vae"
    ):
        experiment_of(name)


def test_what_cannot_be_composed_is_one_line() -> None:
    with pytest.raises(SettingError, match="experiment=iwae: cannot be composed"):
        grid("iwae", ["objective=nonsense"])
