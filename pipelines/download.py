"""Bring the checked files of a data set to data/raw/<dataset>/.

python pipelines/download.py dataset=fashion_mnist 'dataset.mirrors=[/path]'
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vae_likelihoods.datasets.base import KEY, build
from vae_likelihoods.errors import require, under
from vae_likelihoods.files import own_checkout
from vae_likelihoods.scripts import run

ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="../conf", config_name="download")
def main(config: DictConfig) -> None:
    """Download what is missing or damaged."""
    yaml = HydraConfig.get().runtime.choices["dataset"]
    require(config.dataset.name == yaml, "dataset.name", config.dataset.name, f"must be {yaml}, as its file")
    source, folder = build(config.dataset), ROOT / config.raw_folder
    with under(KEY):
        files = source.download(folder)
    log.info("%s: %s in %s", source.name, ", ".join(files) or "everything was already", folder)


if __name__ == "__main__":
    own_checkout(__file__)
    run(main)
