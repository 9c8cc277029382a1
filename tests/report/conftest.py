"""A small invented study: every file that the report reads, with scores known in advance."""

from __future__ import annotations

import json
import math
import re
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vae_likelihoods.units.declaration import Declaration, to_plain
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, Scale, Split

SCORES = {"gaussian": 7.9, "binomial": 11.0, "beta_binomial": 1.3, "gaussian_learned": 1.9}
IMAGES = 50
LATENTS = {2: 1.15, 8: 1.0, 32: 0.97}
WHY = "the score is exact: the model has no posterior q(z|x)"
OF_A_POSTERIOR = (
    "elbo_nats", "rate_nats", "distortion_nats", "importance_samples", "effective_sample_size",
    "active_units", "kl_per_latent_nats", "squared_error",
)  # fmt: skip
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
    """Return a metrics.json whose units follow from its levels, dimensions and samples, scale and split.

    With no latents it is that of a model that gives p(x): all that is of a posterior is missing.
    """
    dimensions = 784
    nll = bits * dimensions * math.log(2)
    rate = 8.0 + 3.0 * math.log2(latent_dim or 1) + 0.1 * seed
    values = {
        "study": study, "cell": f"{likelihood}-{latent_dim}-{seed}", "dataset": "mnist5k", "levels": 256,
        "dimensions": dimensions, "model": "vae", "likelihood": likelihood, "latent_dim": latent_dim,
        "seed": seed, "images": IMAGES, "test_sha256": "5ca1e",
        "weights_sha256": "0", "settings": {}, "tuned": [],
        "bits_per_dim": bits, "bits_per_dim_se": 0.011, "nll_nats": nll, "elbo_nats": -(nll + 2.0),
        "rate_nats": rate, "distortion_nats": nll + 2.0 - rate, "importance_samples": 128,
        "effective_sample_size": 11.2345678, "active_units": min(latent_dim, 11),
        "kl_per_latent_nats": [rate / max(1, latent_dim)] * latent_dim, "squared_error": 0.0123456789,
        "trained_on": "mass", "score_is": "lower bound", "parameters": 123456, "multiply_adds": 654321,
        "multiply_adds_to_draw": 321, "epochs": 20,
    }  # fmt: skip
    k, usual = 128, {"likelihood": likelihood, "latent_dim": latent_dim, "seed": seed}
    if latent_dim == 0:
        direct = {"model": likelihood, "cell": f"{likelihood}-{seed}", "score_is": "exact", "epochs": 1}
        values |= direct | dict.fromkeys(OF_A_POSTERIOR) | {"missing": dict.fromkeys(OF_A_POSTERIOR, WHY)}
    values |= changes
    own = {"optimizer.lr": 0.001} if latent_dim else {"model": likelihood, "model.smoothing": 0.5}
    values["settings"] = usual | own | values["settings"]
    images = (split, values["dimensions"], values["levels"])
    declared = [each.on(*images) for each in declarations(values["importance_samples"] or k, scale)]
    return values | {"declarations": to_plain(each for each in declared if each.name in values)}


def declarations(k: int, scale: Scale) -> list[Declaration]:
    """Return the declarations of an evaluation."""
    bits, nats = Quantity(BITS, scale, k), Quantity(NATS, scale, k)
    draws = Quantity("samples per image", None, k)
    fact, number = partial(Declaration, exact=True), partial(Declaration, format=",.2f")
    error = Quantity("squared error per pixel")
    return [
        fact("study", "a grid"), fact("cell", "a run", header="cell"), fact("dataset", "the images"),
        fact("levels", "K", format="d"), fact("dimensions", "D", format="d"),
        fact("model", "what gives p(x)"), fact("likelihood", "p(x|z)"),
        fact("latent_dim", "size of z", header="latents", format="d"),
        fact("seed", "of randomness", header="seed", format="d"),
        number("bits_per_dim", "the score", bits, "bits/dim", format=".4f", better="lower"),
        number("bits_per_dim_se", "its error", bits, "± images", format=".4f"),
        number("nll_nats", "the score in nats", nats, "NLL", better="lower"),
        number("elbo_nats", "a bound", nats, "ELBO"), number("rate_nats", "a part", Quantity(NATS), "rate"),
        number("distortion_nats", "the other part", nats, "distortion"),
        Declaration("importance_samples", "of the bound", draws, "k", "d", exact=True),
        number("effective_sample_size", "of the k", draws, "ESS", format=".1f"),
        number("active_units", "latents in use", Quantity("latents"), "active", format="d"),
        Declaration("kl_per_latent_nats", "KL of each latent", Quantity("nats per latent")),
        number(
            "squared_error", "of means", error, "squared error", format=".4g", better="lower",
            purpose="reconstructions",
        ),
        fact("trained_on", "mass or density", header="trained on"),
        fact("score_is", "exact or a bound", header="score"),
        fact("parameters", "counted", header="parameters", format=",d"),
        fact("multiply_adds", "counted too", header="multiply-adds", format=",d"),
        fact("multiply_adds_to_draw", "of one image", header="multiply-adds to draw", format=",d"),
        Declaration("epochs", "of training", header="epochs", format="d"),
    ]  # fmt: skip


SHARE = Quantity("share of images")


def add(metrics: dict[str, Any], name: str, value: Any, **fields: Any) -> dict[str, Any]:
    """Return a metrics.json with a further number and its declaration."""
    usual = {"quantity": SHARE, "header": name.replace("_", " "), "format": ".4g"}
    number = Declaration(name, f"this is {name}", **{**usual, **fields})
    declared = to_plain([number.on("test", metrics["dimensions"], metrics["levels"])])
    return {**metrics, name: value, "declarations": metrics["declarations"] | declared}


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
    difference = f"{field}: {usual} ({first}), {value} ({other})"
    return re.escape(f"unlike units cannot stand in one table or ranking. {difference}.") + "$"


@pytest.fixture
def study() -> SimpleNamespace:
    """The functions that invent cells, for tests that change one."""
    return SimpleNamespace(record=record, add=add, save=save, refused=refused, images=IMAGES)


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
