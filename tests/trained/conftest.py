"""A trained cell as it is copied elsewhere, and images for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from vae_likelihoods.cells.run_files import CONFIG, MODEL, WEIGHTS
from vae_likelihoods.datasets.prepared import PreparedDataset


@pytest.fixture
def folder(tiny_root: Path, tmp_path: Path) -> Path:
    """Nothing but the three files of a trained cell."""
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in (CONFIG, MODEL, WEIGHTS):
        shutil.copy(tiny_root / "runs" / "tiny" / "gaussian-2-0" / name, copied)
    return copied


@pytest.fixture
def images(tiny_root: Path) -> torch.Tensor:
    return PreparedDataset(tiny_root / "data" / "prepared" / "digits").split("test").images
