"""Burda et al. 2016: a tighter bound gives better models, and more of their latents are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.experiments.base import ProtocolTable, PublishedProtocol, by_seed, holds, one, over_seeds

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
CARRIES = 0.1  # nats: a latent with a larger rate says something of the image

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
            "carrying": sum(rate > CARRIES for rate in rates),
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "model", "k", "-log p(x), nats", "paper, MNIST", "-ELBO, nats", "active units", "paper, MNIST",
            f"latents above {CARRIES} nats",
        )  # fmt: skip
        rows = []
        for (model, k), found in cells.groupby(["model", "k"], sort=False):
            nats, units = published(str(model), int(str(k)))
            rows.append(
                (
                    str(model),
                    str(k),
                    over_seeds(found["nll_nats"], 2),
                    nats,
                    over_seeds(-found["elbo_nats"], 2),
                    over_seeds(found["active_units"], 1),
                    units,
                    over_seeds(found["carrying"], 1),
                )
            )
        return ProtocolTable(columns, rows, words=("model",))

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        nats, units, carrying = (
            by_seed(named(cells), "name", number) for number in ("nll_nats", "active_units", "carrying")
        )
        least, middle, most = _CHAIN
        if not set(_CHAIN) <= set(nats.columns):
            return [f"Not all of {', '.join(_CHAIN)} were run."]
        ordered = (nats[least] < nats[middle]) & (nats[middle] < nats[most])
        return [
            holds("-log p(x) falls from VAE to IWAE with k = 5 to IWAE with k = 50", ordered),
            f"IWAE with k = 5 gains {over_seeds(nats[most] - nats[middle], 2)} nats on the VAE, k = 50"
            f" another {over_seeds(nats[middle] - nats[least], 2)}; on MNIST the paper has 1.22 and 0.76.",
            *(
                holds(
                    f"{said} rise in the same order",
                    (found[most] < found[middle]) & (found[middle] < found[least]),
                )
                for said, found in (
                    ("Active units (variance of the posterior's mean above 0.01)", units),
                    (f"Latents with a rate above {CARRIES} nats", carrying),
                )
            ),
            *_more_draws(nats),
        ]

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        epochs, rate, k = (one(cells, name) for name in ("epochs", "learning_rate", "importance_samples"))
        batch = one(cells, "batch_size")
        said = [
            f"{one(cells, 'dataset')}: {one(cells, 'train_images')} images to train on and"
            f" {one(cells, 'test_images')} of the test split, where the paper has MNIST, 59,600 and 10,000."
        ]
        if epochs != PUBLISHED_EPOCHS:
            said.append(
                f"{epochs} epochs, not {PUBLISHED_EPOCHS}: eight learning rates as there, shorter stages."
            )
        if rate != PUBLISHED_RATE:
            said.append(f"The learning rate falls from {rate:g} to a tenth of it, in the paper from 0.001.")
        if batch != PUBLISHED_BATCH:
            said.append(f"Batches of {batch} images, not {PUBLISHED_BATCH}.")
        if k != PUBLISHED_SAMPLES:
            said.append(f"log p(x) is bounded with k = {k} importance samples, not {PUBLISHED_SAMPLES}.")
        if epochs != PUBLISHED_EPOCHS:
            said.append(
                "So short a training leaves the means of latents that say nothing with a variance above 0.01,"
                " the threshold of active units: the rates tell them apart."
            )
        return [
            *said,
            "Adam's second moments begin at 0 and beta 1 is 0.9 (so the paper; its code begins at 1 and has"
            " 0.99); pixels are drawn once an epoch, not once a batch.",
        ]


def published(model: str, k: int) -> tuple[str, str]:
    """Return the paper's nats and active units as text; empty for a k that it does not have."""
    if (model, k) not in PUBLISHED:
        return "", ""
    nats, units = PUBLISHED[model, k]
    return f"{nats:.2f}", str(units)


def named(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with a column `name`; IWAE with k = 1 stands in for the VAE where that was not run."""
    names = cells["model"] + ", k = " + cells["k"].astype(str)
    if "VAE, k = 1" not in set(names):
        names = names.replace("IWAE, k = 1", "VAE, k = 1")
    return cells.assign(name=names)


def _more_draws(nats: pd.DataFrame) -> list[str]:
    """Say what more draws give the VAE, and whether the two objectives agree at k = 1."""
    said = []
    if "VAE, k = 50" in nats:
        gain = over_seeds(nats["VAE, k = 1"] - nats["VAE, k = 50"], 2)
        said.append(f"50 draws gain the VAE {gain} nats at the cost of IWAE with k = 50; in the paper 0.41.")
    if "IWAE, k = 1" in nats:
        apart = (nats["VAE, k = 1"] - nats["IWAE, k = 1"]).abs().max()
        said.append(f"VAE and IWAE with k = 1 are one model: {apart:.3f} nats apart at most.")
    return said


EXPERIMENT = IWAEProtocol()
