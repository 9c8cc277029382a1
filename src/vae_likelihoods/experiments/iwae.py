"""Burda et al. 2016: a tighter bound gives better models that use more latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.experiments.base import (
    ProtocolTable,
    PublishedProtocol,
    by_seed,
    over_seeds,
    setting,
    verdict,
)

# Table 1, MNIST, one stochastic layer: nats, with 5000 importance samples, and active units.
PUBLISHED = {
    ("VAE", 1): (86.76, 19),
    ("VAE", 5): (86.47, 20),
    ("VAE", 50): (86.35, 20),
    ("IWAE", 1): (86.76, 19),
    ("IWAE", 5): (85.54, 22),
    ("IWAE", 50): (84.78, 25),
}
PUBLISHED_EPOCHS, PUBLISHED_SAMPLES, PUBLISHED_RATE, PUBLISHED_BATCH = 3280, 5000, 1e-3, 20
INFORMATIVE = 0.1  # nats: a latent with a larger rate carries information about the image

_NAMES = {"averaged_elbo": "VAE", "iwae": "IWAE"}
_CHAIN = ("IWAE, k = 50", "IWAE, k = 5", "VAE, k = 1")


class IWAEProtocol(PublishedProtocol):
    """VAE and IWAE with k = 1, 5 and 50 on pixels that are drawn afresh every epoch."""

    paper = "Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519"

    @override
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        rates = metrics["kl_per_latent_nats"]
        return {
            "model": _NAMES[cell.settings.names["objective"]],
            "k": cell.settings.objective["samples"],
            "nll_nats": metrics["nll_nats"],
            "elbo_nats": metrics["elbo_nats"],
            "active_units": metrics["active_units"],
            "informative": sum(rate > INFORMATIVE for rate in rates),
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "model", "k", "-log p(x), nats", "paper, MNIST", "-ELBO, nats", "active units", "paper, MNIST",
            f"latents above {INFORMATIVE} nats",
        )  # fmt: skip
        rows = []
        for (model, k), group in cells.groupby(["model", "k"], sort=False):
            nats, units = published(str(model), int(str(k)))
            rows.append(
                (
                    str(model),
                    str(k),
                    over_seeds(group["nll_nats"], 2),
                    nats,
                    over_seeds(-group["elbo_nats"], 2),
                    over_seeds(group["active_units"], 1),
                    units,
                    over_seeds(group["informative"], 1),
                )
            )
        return ProtocolTable(columns, rows, words=("model",))

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        nats, units, informative = (
            by_seed(named(cells), "name", number) for number in ("nll_nats", "active_units", "informative")
        )
        least, middle, most = _CHAIN
        if not set(_CHAIN) <= set(nats.columns):
            return [f"Not all of {', '.join(_CHAIN)} were run."]
        ordered = (nats[least] < nats[middle]) & (nats[middle] < nats[most])
        return [
            verdict("-log p(x) falls from VAE to IWAE with k = 5 to IWAE with k = 50", ordered),
            f"IWAE with k = 5 is better than the VAE by {over_seeds(nats[most] - nats[middle], 2)} nats,"
            f" k = 50 by another {over_seeds(nats[middle] - nats[least], 2)}; on MNIST the paper has 1.22"
            " and 0.76.",
            *(
                verdict(
                    f"{name} rise in the same order",
                    (counts[most] < counts[middle]) & (counts[middle] < counts[least]),
                )
                for name, counts in (
                    ("Active units (variance of the posterior's mean above 0.01)", units),
                    (f"Latents with a rate above {INFORMATIVE} nats", informative),
                )
            ),
            *_more_draws(nats),
        ]

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        epochs, rate, k = (setting(cells, name) for name in ("epochs", "learning_rate", "importance_samples"))
        batch = setting(cells, "batch_size")
        sentences = [
            f"{setting(cells, 'dataset')}: {setting(cells, 'train_images')} images to train on and"
            f" {setting(cells, 'test_images')} of the test split; the paper has MNIST, 59,600 and 10,000."
        ]
        if epochs != PUBLISHED_EPOCHS:
            sentences.append(
                f"{epochs} epochs, not {PUBLISHED_EPOCHS}: the same eight learning rates, in shorter stages."
            )
        if rate != PUBLISHED_RATE:
            sentences.append(
                f"The learning rate falls from {rate:g} to a tenth of it; in the paper it begins at 0.001."
            )
        if batch != PUBLISHED_BATCH:
            sentences.append(f"Batches of {batch} images, not {PUBLISHED_BATCH}.")
        if k != PUBLISHED_SAMPLES:
            sentences.append(f"log p(x) is bounded with k = {k} importance samples, not {PUBLISHED_SAMPLES}.")
        if epochs != PUBLISHED_EPOCHS:
            sentences.append(
                "After so short a training, latents without information still have posterior means with a"
                " variance above 0.01, the threshold of active units. Their rates show the difference."
            )
        return [
            *sentences,
            "Adam's second moments begin at 0 and beta 1 is 0.9, as in the paper (its code begins at 1 and"
            " has 0.99). Pixels are drawn once an epoch, not once a batch.",
        ]


def published(model: str, k: int) -> tuple[str, str]:
    """Return the paper's nats and active units as text; empty for a k that is not in the paper."""
    if (model, k) not in PUBLISHED:
        return "", ""
    nats, units = PUBLISHED[model, k]
    return f"{nats:.2f}", str(units)


def named(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with a column `name`; without a VAE, IWAE with k = 1, which is equal, has its name."""
    names = cells["model"] + ", k = " + cells["k"].astype(str)
    if "VAE, k = 1" not in set(names):
        names = names.replace("IWAE, k = 1", "VAE, k = 1")
    return cells.assign(name=names)


def _more_draws(nats: pd.DataFrame) -> list[str]:
    """Return what more draws do for the VAE, and whether the two objectives agree at k = 1."""
    sentences = []
    if "VAE, k = 50" in nats:
        gain = over_seeds(nats["VAE, k = 1"] - nats["VAE, k = 50"], 2)
        cost = "at the cost of IWAE with k = 50"
        sentences.append(f"50 draws make the VAE better by {gain} nats, {cost}; in the paper by 0.41.")
    if "IWAE, k = 1" in nats:
        difference = (nats["VAE, k = 1"] - nats["IWAE, k = 1"]).abs().max()
        sentences.append(f"VAE and IWAE with k = 1 are the same model: {difference:.3f} nats apart at most.")
    return sentences


EXPERIMENT = IWAEProtocol()
