"""A trained and evaluated cell, and fresh databases to mirror it into."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.tracking.connection import connect


@pytest.fixture(scope="package")
def finished(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one trained and evaluated cell, and no MLflow."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(prepared_root / "data", root / "data")
    return root


@pytest.fixture
def cell(finished: Path, configuration: Callable[..., DictConfig]) -> Cell:
    """The cell of `finished`, `gaussian_learned-8-0` of the study `tracked`."""
    settings = ("dataset=digits", "likelihood=gaussian_learned", "network.hidden=[4]", "training.epochs=2")
    rest = ("metric.bound.samples=4", f"runtime.root='{finished}'", "runtime.device=cpu", "study=tracked")
    cell = Cell.of(configuration(*settings, *rest, "training.grid_epochs=1"))
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
    return cell


@pytest.fixture(scope="package")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, which takes MLflow seconds to make."""
    root = tmp_path_factory.mktemp("database")
    connect(f"sqlite:///{root / 'mlflow.db'}", root)
    return root / "mlflow.db"


@pytest.fixture
def uri(database: Path, tmp_path: Path) -> str:
    """The address of an empty database."""
    shutil.copyfile(database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"
