"""What every column of summary.csv means, in which unit, and how the page prints it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from vae_likelihoods.report.summary import further
from vae_likelihoods.units import Unit


@dataclass(frozen=True)
class Definition:
    """A column: its name in summary.csv, its header in the page, its meaning and its format."""

    name: str
    header: str
    meaning: str
    format: str = ""
    in_table: bool = True

    @property
    def numeric(self) -> bool:
        """Whether the column sorts by number."""
        return self.format != ""


DEFINITIONS = (
    Definition(
        "cell",
        "cell",
        "one training run, likelihood-latents-seed: the name of its folder and of its MLflow run",
    ),
    Definition(
        "study",
        "study",
        "named grid of cells in params.yaml, and the name of the MLflow experiment",
        "",
        False,
    ),
    Definition("dataset", "data set", "the images; every score is on their test split", "", False),
    Definition("levels", "levels", "K, the number of values a pixel can take", "d", False),
    Definition("dimensions", "D", "pixels × channels of an image", "d", False),
    Definition(
        "scale",
        "scale",
        "what the scores are logarithms of, whatever was trained on: mass, the probability of levels",
        "",
        False,
    ),
    Definition("split", "split", "the images that the scores were measured on", "", False),
    Definition(
        "likelihood", "likelihood", "p(x|z), a probability for each of the K levels of each pixel", "", False
    ),
    Definition("latent_dim", "latents", "size of z", "d"),
    Definition("seed", "seed", "number from which all randomness of the cell is derived", "d"),
    Definition(
        "bits_per_dim",
        "bits/dim",
        "nll_nats / (D ln 2), D = pixels × channels; a uniform guess scores log2 K",
        ".4f",
    ),
    Definition("bits_per_dim_se", "± images", "standard error of bits_per_dim over test images", ".4f"),
    Definition("nll_nats", "NLL", "minus the importance-weighted bound on log p(x), nats per image", ",.2f"),
    Definition(
        "elbo_nats",
        "ELBO",
        "-(rate + distortion), nats per image; never above -nll_nats in expectation",
        ",.2f",
    ),
    Definition(
        "rate_nats",
        "rate",
        "KL(q(z|x) to p(z)), nats per image: what the latents tell about an image",
        ",.2f",
    ),
    Definition(
        "distortion_nats",
        "distortion",
        "-E log p(x|z) under q(z|x), nats per image: what the latents leave open",
        ",.2f",
    ),
    Definition(
        "active_units", "active", "latents whose posterior mean has a variance above 0.01 over images", "d"
    ),
    Definition(
        "importance_samples", "k", "samples of z for each image in the importance-weighted bound", "d"
    ),
    Definition(
        "effective_sample_size",
        "ESS",
        "how many of the k samples carry weight, mean over images; near 1 the bound is loose",
        ".1f",
    ),
    Definition(
        "squared_error", "squared error", "per pixel, of the likelihood's mean, pixels in [0, 1]", ".4f"
    ),
    Definition(
        "trained_on",
        "trained on",
        "mass: the score itself; density: a density at one point in the pixel's bin",
    ),
    Definition("parameters", "parameters", "trained numbers in encoder, decoder and likelihood", ",d"),
    Definition("multiply_adds", "mult-adds", "multiply-adds for one image through encoder and decoder", ",d"),
    Definition("epochs", "epochs", "passes over the training split", "d"),
)
"""The columns in the order in which the page shows and explains them."""


def of_further_metrics(cells: pd.DataFrame) -> list[Definition]:
    """Return the columns of what metrics beyond `DEFINITIONS` measured in some of `cells`, by name."""
    found: list[Definition] = []
    for name in further(cells):
        measured = [name in units for units in cells["units"]]
        first = cells[measured].iloc[0]
        unit: Unit = first["units"][name]
        better = first["better"].get(name)
        meaning = f"{unit.measure}{f'; {better} is better' if better else ''}"
        found.append(Definition(name, name.replace("_", " "), meaning, ".4g"))
    return found
