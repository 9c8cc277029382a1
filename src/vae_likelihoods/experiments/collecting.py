"""From the name of an experiment to its evaluated cells."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Sequence

import pandas as pd
from hydra import compose, initialize_config_dir

from vae_likelihoods import experiments
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import METRICS
from vae_likelihoods.errors import require
from vae_likelihoods.experiments.base import PublishedProtocol, facts
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps import studies


def names() -> list[str]:
    """Return the names of all experiments and variants: the YAMLs with a file of the same name here."""
    modules = {module.name for module in pkgutil.iter_modules(experiments.__path__)}
    yamls = sorted(path.stem for path in (PROJECT / "conf" / "experiment").glob("*.yaml"))
    return [name for name in yamls if name.partition("-")[0] in modules]


def experiment_of(name: str) -> PublishedProtocol:
    """Return the experiment with this name, or the one that it is a variant of.

    Raises:
        SettingError: naming the choices.
    """
    require(name in names(), "experiment", name or "(none)", "there is no such experiment", names())
    module = importlib.import_module(f"vae_likelihoods.experiments.{name.partition('-')[0]}")
    experiment: PublishedProtocol = module.EXPERIMENT
    return experiment


def grid(name: str, overrides: Sequence[str]) -> list[Cell]:
    """Return the cells of `train.py -m experiment=<name> <overrides>`; their parts and data are not checked.

    Raises:
        SettingError: if they cannot be composed.
    """
    with studies.composition("experiment", name):
        with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
            hydra = compose("config", [f"experiment={name}"], return_hydra_config=True).hydra
        axes = [f"{key}={value}" for key, value in hydra.sweeper.params.items()]
        return studies.cells_of([*axes, f"experiment={name}", *overrides])


def collect(name: str, overrides: Sequence[str]) -> pd.DataFrame:
    """Return a row for every evaluated cell of an experiment and its parts.

    Raises:
        SettingError: if a cell was not evaluated.
    """
    experiment = experiment_of(name)
    rows = []
    for part in (name, *experiment.parts):
        for cell in grid(part, overrides):
            path = cell.evaluation_folder / METRICS
            command = f"run `.venv/bin/vae-likelihoods experiment {name}`"
            require(path.is_file(), "cell", f"{cell.study}/{cell.name}", f"was not evaluated; {command}")
            metrics = json.loads(path.read_text(encoding="utf-8"))
            rows.append({**facts(cell, metrics), **experiment.row(cell, metrics)})
    return pd.DataFrame(rows)
