"""Our side of training.py: the work of pipelines/train.py after its start, in a folder of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from timing import Result, timed
from tutorial import Task
from vae_likelihoods.files import PROJECT, read_csv
from vae_likelihoods.sweeps.job import run_job
from vae_likelihoods.tracking.connection import store_uri
from vae_likelihoods.tracking.experiment import Experiment


def train(task: Task, overrides: Sequence[str]) -> Result:
    """Train a cell with its store, pictures, validation, and MLflow in a new database.

    Args:
        task: what to train.
        overrides: further settings, such as ``training.precision=bfloat16``.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data/prepared").mkdir(parents=True)
        (root / "data/prepared" / task.prepared.name).symlink_to(task.prepared)
        config = composed(task, root, overrides)
        database_seconds = make_database(root, config.study)
        result = timed(task.images * task.epochs, lambda: run_job("train", config))
        (history,) = (root / "runs").glob("*/*/history.csv")
        bits = float(read_csv(history)[-1]["val_bits_per_dim"])
        return {**result, "bits_per_dim": bits, "database_seconds": database_seconds}


def make_database(root: Path, study: str) -> float:
    """Make MLflow's database, which a project needs only once; return the seconds."""
    began = time.perf_counter()
    Experiment(store_uri(None, root), root, study)
    return time.perf_counter() - began


def composed(task: Task, root: Path, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of the cell."""
    settings = {
        "dataset": task.prepared.name,
        "likelihood": "binomial",
        "network": "mlp",
        "network.hidden": f"[{','.join(map(str, task.hidden))}]",
        "latent_dim": task.latent_dim,
        "seed": task.seed,
        "training.batch_size": task.batch_size,
        "training.epochs": task.epochs,
        "tracking.uri": "null",
        "runtime.root": f"'{root}'",
        "runtime.device": "cpu",
        "runtime.threads": 1,
    }
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        lines = [f"{key}={value}" for key, value in settings.items()]
        config = compose("config", [*lines, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config
