"""Rybkin et al. 2021: a Gaussian decoder needs no weight on the KL if its shared sigma is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import HISTORY
from vae_likelihoods.experiments.base import (
    ProtocolTable,
    PublishedProtocol,
    by_seed,
    over_seeds,
    setting,
    verdict,
)

_NAMES = {
    "gaussian": "fixed",
    "gaussian_learned": "learned, shared",
    "gaussian_per_pixel": "learned, per pixel",
}
# What the paper says about each, on other data and mostly about samples: https://orybkin.github.io/sigma-vae/.
_PUBLISHED = {
    "fixed": "a variance of 1 is miscalibrated",
    "learned, shared": "often best",
    "learned, per pixel": "often suboptimal",
}


class SigmaVAEProtocol(PublishedProtocol):
    """A Gaussian's sigma: fixed, one learned number, or an output of the decoder for every pixel."""

    paper = "Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202"

    @override
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        likelihood, training = cell.settings.likelihood, cell.settings.training
        history = cell.run_folder / HISTORY
        kind = _NAMES[cell.settings.names["likelihood"]]
        return {
            "kind": kind,
            "start": likelihood["scale"],
            "trained_on": likelihood["trained_on"],
            "learned_sigma": learned_sigma(history, training.kept_epoch)
            if kind == "learned, shared"
            else None,
            "bits_per_dim": metrics["bits_per_dim"],
            "squared_error": metrics["squared_error"],
            "rate_nats": metrics["rate_nats"],
            "active_units": metrics["active_units"],
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "sigma", "fixed or initial value", "trained on the", "learned value", "bits/dim", "squared error",
            "rate, nats", "active units", "the paper",
        )  # fmt: skip
        rows = []
        for (trained_on, kind, start), group in cells.groupby(["trained_on", "kind", "start"], sort=False):
            sigmas = group["learned_sigma"].dropna().astype(float)
            rows.append(
                (
                    str(kind),
                    f"{start:g}",
                    str(trained_on),
                    over_seeds(sigmas, 4) if len(sigmas) else "",
                    over_seeds(group["bits_per_dim"], 3),
                    over_seeds(group["squared_error"], 4),
                    over_seeds(group["rate_nats"], 1),
                    over_seeds(group["active_units"], 1),
                    _PUBLISHED[str(kind)],
                )
            )
        return ProtocolTable(columns, rows, words=("sigma", "trained on the", "the paper"))

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        sentences = []
        for (trained_on, start), group in cells.groupby(["trained_on", "start"], sort=False):
            bits = by_seed(group, "kind", "bits_per_dim")
            for other, kind in (("fixed", "fixed at"), ("learned, per pixel", "per pixel that starts at")):
                difference = bits[other] - bits["learned, shared"]
                claim = (
                    f"Trained on the {trained_on}, a shared sigma needs fewer bits than one {kind} {start:g}"
                )
                sentences.append(
                    f"{verdict(claim, difference > 0)} Difference in bits/dim: {over_seeds(difference, 3)}."
                )
        return sentences

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        return [
            f"{setting(cells, 'dataset')}, {setting(cells, 'train_images')} images, a fully connected"
            " network; the paper has colour images and videos, and convolutions. So its numbers cannot be"
            " compared with ours.",
            "Bits/dim are of the mass over 256 levels, also after training on the density; the paper compares"
            " densities and samples (Fréchet distance).",
            "The shared sigma is a parameter of the model. The paper's optimal sigma, the root of the mean"
            " squared error of each batch, is not used: on test images it would be fitted to what it scores.",
            "A learned sigma stays above a quarter of a bin; without this bound the density rewards an ever"
            " smaller sigma per pixel.",
            f"{setting(cells, 'epochs')} epochs of Adam, batches of {setting(cells, 'batch_size')},"
            " the weights of the best validation ELBO.",
        ]


def learned_sigma(history: Path, kept_epoch: Callable[[int, int], int]) -> float:
    """Return the shared sigma of the epoch whose weights were kept, from history.csv.

    Args:
        history: the file.
        kept_epoch: gives that epoch from the best one and the last one (`TrainingSettings.kept_epoch`).
    """
    epochs = pd.read_csv(history, index_col="epoch")
    last = int(epochs.index[-1])
    return float(epochs["scale"].loc[kept_epoch(int(epochs["best_epoch"].loc[last]), last)])


EXPERIMENT = SigmaVAEProtocol()
