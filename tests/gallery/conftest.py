"""mnist5k, prepared once for all tests of the gallery, and the rows that train nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vae_likelihoods.datasets.base import build
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow
from vae_likelihoods.gallery.rows import ROWS, computed

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="session")
def mnist5k_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which data/prepared/mnist5k is prepared."""
    root = tmp_path_factory.mktemp("mnist5k")
    source = build(OmegaConf.load(CONF / "dataset" / "mnist5k.yaml"))
    source.download(root / "data" / "raw" / "mnist5k")
    prepare(source, root / "data" / "raw" / "mnist5k", root / "data" / "prepared" / "mnist5k")
    return root


@pytest.fixture(scope="session")
def images(mnist5k_root: Path) -> Images:
    return Images.of(PreparedDataset(mnist5k_root / "data" / "prepared" / "mnist5k"))


@pytest.fixture(scope="session")
def rows(images: Images) -> dict[str, GalleryRow]:
    """Every row that trains nothing, by name."""
    cheap = [entry for entry in ROWS if not entry.trains]
    return {entry.name: row for entry, row in computed(cheap, images, seed=0)}


@pytest.fixture(scope="session")
def trained_rows(images: Images) -> dict[str, GalleryRow]:
    """Every row that trains, by name; takes a minute."""
    training = [entry for entry in ROWS if entry.trains]
    return {entry.name: row for entry, row in computed(training, images, seed=0)}
