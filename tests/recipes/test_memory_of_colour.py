"""What a cell of 64 x 64 pixels in colour takes, in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from processes import PATIENCE_SECONDS, PROJECT, environment
from vae_likelihoods.datasets.base import build
from vae_likelihoods.datasets.preparing import prepare

MOST = 2 * 2**30  # bytes
WATCHED = """
import json, resource, subprocess, sys
code = subprocess.run(json.loads(sys.argv[1])).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak(stage: str, *words: str) -> int:
    """Return the largest resident size of a stage, in bytes."""
    command = json.dumps([sys.executable, str(PROJECT / "pipelines" / f"{stage}.py"), *words])
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, command],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment(),
        check=True,
    )
    code, size = done.stdout.split()[-2:]
    assert code == "0", done.stdout + done.stderr
    return int(size)


@pytest.mark.slow
def test_a_cell_of_64_pixels_in_colour_takes_less_than_2_gib(tmp_path: Path) -> None:
    waves = np.random.default_rng(0).normal(size=(300, 3, 5, 5)).repeat(13, 2).repeat(13, 3)[..., :64, :64]
    np.save(tmp_path / "images.npy", np.clip(128 + 50 * waves, 0, 255).astype(np.uint8))
    config = OmegaConf.load(PROJECT / "conf" / "dataset" / "arrays.yaml")
    source = build(OmegaConf.merge(config, {"path": str(tmp_path / "images.npy")}))
    raw = tmp_path / "data" / "raw" / "arrays"
    raw.mkdir(parents=True)
    source.download(raw)
    prepare(source, raw, tmp_path / "data" / "prepared" / "arrays")
    words = [
        *("dataset=arrays", "network=auto", "likelihood=logistic_mixture", "latent_dim=64", "tracking=none"),
        *("training.epochs=1", "training.batch_size=64", "training.grid_epochs=1", "runtime.device=cpu"),
        *("metric=[bound,reconstruction,latents]", "metric.bound.samples=8", f"runtime.root='{tmp_path}'"),
    ]
    for stage in ("train", "evaluate"):
        taken = peak(stage, *words)
        assert taken < MOST, f"{stage}: {taken / 2**30:.2f} GiB"
        print(f"{stage}: {taken / 2**30:.2f} GiB")
