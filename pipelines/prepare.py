"""Write the splits of a downloaded data set to data/prepared/<dataset>/.

python pipelines/prepare.py dataset=fashion_mnist
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vae_likelihoods.datasets.base import build
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import require
from vae_likelihoods.files import own_checkout
from vae_likelihoods.scripts import run

ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="../conf", config_name="prepare")
def main(config: DictConfig) -> None:
    """Cut the splits and write arrays, manifest and contact sheet."""
    yaml = HydraConfig.get().runtime.choices["dataset"]
    require(config.dataset.name == yaml, "dataset.name", config.dataset.name, f"must be {yaml}, as its file")
    folder = ROOT / config.prepared_folder
    manifest = prepare(build(config.dataset), ROOT / config.raw_folder, folder)
    counts = ", ".join(f"{split['count']} {name}" for name, split in manifest["splits"].items())
    log.info("%s: %s images in %s", manifest["name"], counts, folder)


if __name__ == "__main__":
    own_checkout(__file__)
    run(main)
