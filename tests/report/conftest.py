"""A small study made up on the spot: every file that the report reads, with scores known in advance."""

from __future__ import annotations

import json
import math
import re
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vae_likelihoods.units import BITS, NATS, Quantity, Scale, Split, plain

SCORES = {"gaussian": 7.9, "binomial": 11.0, "beta_binomial": 1.3, "gaussian_learned": 1.9}
IMAGES = 50
LATENTS = {2: 1.15, 8: 1.0, 32: 0.97}
UNLIKE: list[dict[str, Any]] = [
    {"dataset": "digits"}, {"test_sha256": "0ddba11"}, {"levels": 17}, {"dimensions": 64},
    {"scale": "density"}, {"split": "validation"}, {"importance_samples": 8},
]  # fmt: skip


def record(
    study: str,
    likelihood: str,
    latent_dim: int,
    seed: int,
    bits: float,
    scale: Scale = "mass",
    split: Split = "test",
    **changes: Any,
) -> dict[str, Any]:
    """Return a metrics.json whose units follow from its levels, dimensions and samples, scale and split."""
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
        "kl_per_latent_nats": [rate / latent_dim] * latent_dim, "images": IMAGES, "test_sha256": "5ca1e",
    }  # fmt: skip
    values |= changes
    return values | {"units": units(values, scale, split)}


def units(values: dict[str, Any], scale: Scale, split: Split) -> dict[str, dict[str, Any]]:
    k = values["importance_samples"]
    bits, nats, draws = (
        Quantity(BITS, scale, k),
        Quantity(NATS, scale, k),
        Quantity("samples per image", None, k),
    )
    quantities = {
        "bits_per_dim": bits, "bits_per_dim_se": bits, "nll_nats": nats, "elbo_nats": nats,
        "distortion_nats": nats, "rate_nats": Quantity(NATS), "importance_samples": draws,
        "effective_sample_size": draws, "active_units": Quantity("latents"),
        "squared_error": Quantity("squared error per pixel"),
        "kl_per_latent_nats": Quantity("nats per latent"),
    }  # fmt: skip
    dimensions, levels = values["dimensions"], values["levels"]
    return plain({name: one.on(split, dimensions, levels) for name, one in quantities.items()})


def nats_of_images(metrics: dict[str, Any]) -> pd.DataFrame:
    """Return a per_image.csv: what is hard for all cells, what is for one setting, and the mean as given."""
    seeds = (0, zlib.crc32(f"{metrics['likelihood']}-{metrics['latent_dim']}".encode()))
    parts = [
        np.random.default_rng(seed).normal(0, sd, IMAGES) for seed, sd in zip(seeds, (60, 5), strict=True)
    ]
    nats = (metrics["nll_nats"] or 0.0) + sum(part - part.mean() for part in parts)
    return pd.DataFrame({"image": np.arange(IMAGES), "nll_nats": nats})


def save(root: Path, metrics: dict[str, Any], picture: Image.Image | None = None, **columns: Any) -> Path:
    """Write what an evaluation writes; `columns` are further ones of per_image.csv."""
    folder = root / "evaluations" / metrics["study"] / metrics["cell"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    per_image = nats_of_images(metrics).assign(**columns)
    per_image.to_csv(folder / "per_image.csv", index=False, float_format="%.9g")
    if picture is not None:
        picture.save(folder / "samples.png")
        picture.save(folder / "reconstructions.png")
    return folder / "metrics.json"


def refused(change: dict[str, Any], first: str = "pair/one-2-0", other: str = "pair/other-2-0") -> str:
    """Return a pattern for the refusal that names what `change` changed, and nothing else."""
    ((field, value),) = change.items()
    usual = {**record("grey", "any", 2, 0, 1.0), "scale": "mass", "split": "test"}[field]
    said = (
        f"unlike units cannot stand in one table or ranking. {field}: {usual} ({first}), {value} ({other})."
    )
    return re.escape(said) + "$"


@pytest.fixture
def study() -> SimpleNamespace:
    """The functions that make up cells, for tests that change one."""
    return SimpleNamespace(record=record, save=save, refused=refused, images=IMAGES)


@pytest.fixture(params=UNLIKE, ids=lambda change: "-".join(change))
def unlike(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One change to `record` after which a cell cannot be compared with the others."""
    change: dict[str, Any] = request.param
    return change


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
