"""A small study made up on the spot: every file that the report reads, with scores known in advance."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCORES = {"gaussian": 7.9, "binomial": 11.0, "beta_binomial": 1.3, "gaussian_learned": 1.9}
LATENTS = {2: 1.15, 8: 1.0, 32: 0.97}


def record(
    study: str, likelihood: str, latent_dim: int, seed: int, bits: float, **changes: Any
) -> dict[str, Any]:
    dimensions = 784
    nll = bits * dimensions * math.log(2)
    rate = 8.0 + 3.0 * math.log2(latent_dim) + 0.1 * seed
    values = {
        "study": study, "cell": f"{likelihood}-{latent_dim}-{seed}", "dataset": "mnist5k", "levels": 256,
        "likelihood": likelihood, "latent_dim": latent_dim, "seed": seed, "bits_per_dim": bits,
        "bits_per_dim_se": 0.011, "nll_nats": nll, "elbo_nats": -(nll + 2.0), "rate_nats": rate,
        "distortion_nats": nll + 2.0 - rate, "importance_samples": 128, "effective_sample_size": 11.2345678,
        "active_units": min(latent_dim, 11), "squared_error": 0.0123456789, "trained_on": "mass",
        "parameters": 123456, "multiply_adds": 654321, "epochs": 20, "dimensions": dimensions,
        "kl_per_latent": [rate / latent_dim] * latent_dim, "units": {"nll_nats": "nats per image"},
    }  # fmt: skip
    return values | changes


def save(root: Path, metrics: dict[str, Any], picture: Image.Image | None = None) -> Path:
    folder = root / "evaluations" / metrics["study"] / metrics["cell"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    if picture is not None:
        picture.save(folder / "samples.png")
        picture.save(folder / "reconstructions.png")
    return folder / "metrics.json"


@pytest.fixture
def study() -> SimpleNamespace:
    """The functions that make up cells, for tests that change one."""
    return SimpleNamespace(record=record, save=save)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with params.yaml, one study of 4 likelihoods x 3 sizes x 2 seeds, and its pictures."""
    axis = ",".join(SCORES)
    (tmp_path / "params.yaml").write_text(
        f'studies:\n  grey: {{levels: 256, likelihood: "{axis}"}}\n', encoding="utf-8"
    )
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    for likelihood, score in SCORES.items():
        for latent_dim, factor in LATENTS.items():
            for seed in (0, 1):
                bits = score * factor + 0.004 * (2 * seed - 1)
                save(tmp_path, record("grey", likelihood, latent_dim, seed, bits), Image.fromarray(noise))
    return tmp_path
