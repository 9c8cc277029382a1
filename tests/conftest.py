"""What tests of more than one room need: a prepared data set, cells of it, and a small model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from processes import Start, starting
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.datasets.base import build
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.sweeps import studies
from vae_likelihoods.sweeps.stages import STAGES

CONF = Path(__file__).parents[1] / "conf"
# A cell that trains in a second: 8x8 digits, two epochs.
SMALL = (
    "dataset=digits",
    "tracking=none",
    "network.hidden=[16]",
    "training.epochs=2",
    "training.grid_epochs=1",
    "metric=[bound,latents,reconstruction]",
    "metric.bound.samples=8",
    "runtime.device=cpu",
    "runtime.checkpoint_seconds=0",
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start stages as users do; what is left of them is killed at the end."""
    with starting() as begin:
        yield begin


@pytest.fixture(scope="session")
def prepared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which data/prepared/digits is prepared; shared by all tests, so leave data/ as it is."""
    root = tmp_path_factory.mktemp("root")
    source = build(OmegaConf.load(CONF / "dataset" / "digits.yaml"))
    source.download(root / "data" / "raw" / "digits")
    prepare(source, root / "data" / "raw" / "digits", root / "data" / "prepared" / "digits")
    return root


@pytest.fixture(scope="session")
def configuration() -> Callable[..., DictConfig]:
    """Compose conf/config.yaml with overrides, as a pipeline script would get it."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        assert isinstance(resolved, DictConfig)
        return resolved

    return composed


@pytest.fixture
def small_cell(prepared_root: Path, configuration: Callable[..., DictConfig]) -> Callable[..., Cell]:
    """Build a checked cell that trains in a second; its results go to `root`, by default the prepared one."""

    def cell(*overrides: str, root: Path = prepared_root) -> Cell:
        chosen = {override.partition("=")[0] for override in overrides}
        small = [setting for setting in SMALL if setting.partition(".")[0] not in chosen]
        return Cell.of(configuration(*small, f"runtime.root='{root}'", *overrides))

    return cell


TINY = """
datasets: [digits]
studies:
  tiny:
    dataset: digits
    levels: 17
    likelihood: binomial,gaussian
    latent_dim: 2
    seed: 0
    options: {options}
optional: {{}}
"""


@pytest.fixture(scope="session")
def tiny_params() -> str:
    """A params.yaml with one study, `tiny`, of two cells."""
    return TINY.format(options=" ".join(setting for setting in SMALL if not setting.startswith("dataset=")))


@pytest.fixture(scope="session")
def tiny_done(prepared_root: Path, tiny_params: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which both cells of `tiny` were trained and evaluated; to be copied."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "data").symlink_to(prepared_root / "data")
    (root / "params.yaml").write_text(tiny_params)
    for cell in studies.grid("tiny", studies.axes(root / "params.yaml")["tiny"], root):
        for stage in STAGES.values():
            stage.perform(cell, lambda record: None)
    return root


@pytest.fixture
def tiny_root(tiny_done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of the test's own, with params.yaml and all results of the study `tiny`."""
    monkeypatch.delenv("VAE_LIKELIHOODS_STORE", raising=False)
    return shutil.copytree(tiny_done, tmp_path / "a root", symlinks=True)
