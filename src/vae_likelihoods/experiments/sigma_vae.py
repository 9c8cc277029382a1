"""Rybkin et al. 2021: a Gaussian decoder needs no weight on the KL if its one sigma is learned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.experiments.base import ProtocolTable, PublishedProtocol, by_seed, holds, one, over_seeds

_NAMES = {
    "gaussian": "fixed",
    "gaussian_learned": "learned, shared",
    "gaussian_per_pixel": "learned, per pixel",
}
# What the paper says of each, on other data and mostly of samples: https://orybkin.github.io/sigma-vae/.
_SAID = {
    "fixed": "a variance of 1 is miscalibrated",
    "learned, shared": "often best",
    "learned, per pixel": "often suboptimal",
}


class SigmaVAEProtocol(PublishedProtocol):
    """A Gaussian's sigma: fixed, one learned number, or the decoder's for every pixel."""

    paper = "Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202"

    @override
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        likelihood = cell.settings.likelihood
        kind = _NAMES[cell.settings.names["likelihood"]]
        return {
            "kind": kind,
            "start": likelihood["scale"],
            "trained_on": likelihood["trained_on"],
            "found": found_sigma(cell.run_folder / "history.csv") if kind == "learned, shared" else None,
            "bits_per_dim": metrics["bits_per_dim"],
            "squared_error": metrics["squared_error"],
            "rate_nats": metrics["rate_nats"],
            "active_units": metrics["active_units"],
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "sigma", "fixed at, or begun at", "trained on the", "found", "bits/dim", "squared error",
            "rate, nats", "active units", "the paper",
        )  # fmt: skip
        rows = []
        for (trained_on, kind, start), found in cells.groupby(["trained_on", "kind", "start"], sort=False):
            sigmas = found["found"].dropna().astype(float)
            rows.append(
                (
                    str(kind),
                    f"{start:g}",
                    str(trained_on),
                    over_seeds(sigmas, 4) if len(sigmas) else "",
                    over_seeds(found["bits_per_dim"], 3),
                    over_seeds(found["squared_error"], 4),
                    over_seeds(found["rate_nats"], 1),
                    over_seeds(found["active_units"], 1),
                    _SAID[str(kind)],
                )
            )
        return ProtocolTable(columns, rows, words=("sigma", "trained on the", "the paper"))

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        said = []
        for trained_on, found in cells.groupby("trained_on", sort=False):
            for start, begun in found.groupby("start", sort=False):
                bits = by_seed(begun, "kind", "bits_per_dim")
                for other, how in (("fixed", "fixed at"), ("learned, per pixel", "of each pixel, begun at")):
                    less = bits[other] - bits["learned, shared"]
                    claim = (
                        f"Trained on the {trained_on}, a shared sigma codes better than one {how} {start:g}"
                    )
                    said.append(f"{holds(claim, less > 0)} Bits/dim less: {over_seeds(less, 3)}.")
        return said

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        return [
            f"{one(cells, 'dataset')}, {one(cells, 'train_images')} images, a fully connected network; the"
            " paper has colour images and videos, and convolutions. So its numbers do not stand beside ours.",
            "Bits/dim are of the mass over 256 levels, whatever was trained on; the paper compares densities"
            " and samples (Fréchet distance).",
            "The shared sigma is a parameter of the model. The paper's optimal sigma, the root of the mean"
            " squared error of each batch, is not used: on test images it is fitted to what it scores.",
            "A learned sigma stays above a quarter of a bin; per pixel the density rewards any smaller one.",
            f"{one(cells, 'epochs')} epochs of Adam, batches of {one(cells, 'batch_size')},"
            " the weights of the best validation ELBO.",
        ]


def found_sigma(history: Path) -> float:
    """Return the shared sigma of the weights that were kept, from history.csv."""
    epochs = pd.read_csv(history)
    kept = int(epochs["best_epoch"].iloc[-1])
    return float(epochs.loc[epochs["epoch"] == kept, "scale"].iloc[0])


EXPERIMENT = SigmaVAEProtocol()
