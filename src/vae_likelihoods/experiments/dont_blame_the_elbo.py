"""Lucas et al. 2019: a linear VAE uses exactly as many latents as the data have eigenvalues above sigma^2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.experiments.base import (
    ProtocolTable,
    PublishedProtocol,
    over_seeds,
    setting,
    verdict,
    whole_numbers,
)

Floats = NDArray[np.float64]


class DontBlameTheELBOProtocol(PublishedProtocol):
    """Linear VAEs with a fixed sigma; the optimum is probabilistic PCA (Tipping and Bishop 1999)."""

    paper = "Lucas, Tucker, Grosse and Norouzi 2019, arXiv:1911.02469"

    @override
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        sigma, latents = cell.settings.likelihood["scale"], cell.settings.latents
        values = train_eigenvalues(cell.data.folder)
        return {
            "sigma": sigma,
            "above": int((values > sigma**2).sum()),
            "expected": active_latents(values, sigma, latents),
            "active_units": metrics["active_units"],
            "rate_nats": metrics["rate_nats"],
            "expected_rate_nats": optimal_rate_nats(values, sigma, latents),
            "next_above": float(values[values > sigma**2].min(initial=np.inf)) / sigma**2,
            "next_below": float(values[values <= sigma**2].max(initial=0)) / sigma**2,
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "sigma", "sigma²", "eigenvalues above", "nearest above, of sigma²", "nearest below, of sigma²",
            "active latents, theory", "active latents, each seed", "rate, nats, theory", "rate, nats",
        )  # fmt: skip
        rows = []
        for sigma, group in cells.groupby("sigma", sort=False):
            first = group.iloc[0]
            above = "" if np.isinf(first["next_above"]) else f"{first['next_above']:.3f}"
            rows.append(
                (
                    f"{sigma:g}",
                    f"{float(str(sigma)) ** 2:.3f}",
                    str(first["above"]),
                    above,
                    f"{first['next_below']:.3f}",
                    str(first["expected"]),
                    whole_numbers(group["active_units"]),
                    f"{first['expected_rate_nats']:.3f}",
                    over_seeds(group["rate_nats"], 3),
                )
            )
        return ProtocolTable(columns, rows)

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        exact = (cells["active_units"] == cells["expected"]).groupby(cells["seed"]).all()
        return [
            verdict(
                "The number of active latents is that of the eigenvalues above sigma², at every sigma", exact
            ),
            "The paper proves it: the optimum of the ELBO is probabilistic PCA, which has no latent for an"
            " eigenvalue below sigma².",
        ]

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        return [
            f"{setting(cells, 'dataset')}, {setting(cells, 'train_images')} images to train on; the paper has"
            " MNIST.",
            f"{setting(cells, 'latent_dim')} latents, Adam for {setting(cells, 'epochs')} epochs. A latent is"
            " active if the variance of its posterior's mean over the test images is above 0.01; at the"
            " optimum it is 1 - sigma²/eigenvalue.",
            "The KL is in closed form, the reconstruction is one draw of z. The rates are of test images, the"
            " theory of the train images.",
            "The likelihood is trained on its density at k/255, and only the density is used.",
        ]


@cache
def train_eigenvalues(folder: Path) -> Floats:
    """Return the eigenvalues of the train images of the data set prepared in `folder`, at k / (K - 1)."""
    data = PreparedDataset(folder)
    images = data.split("train").images
    return eigenvalues(images.flatten(1).double().numpy() / (data.native_levels - 1))


def eigenvalues(points: Floats) -> Floats:
    """Return the eigenvalues of the biased covariance of points [N, D], largest first."""
    covariance = np.cov(points.T, bias=True)
    return np.asarray(np.linalg.eigvalsh(covariance)[::-1], dtype=np.float64)


def active_latents(values: Floats, sigma: float, latent_dim: int) -> int:
    """Return how many of `latent_dim` latents a linear VAE uses at its optimum."""
    return min(latent_dim, int((values > sigma**2).sum()))


def optimal_rate_nats(values: Floats, sigma: float, latent_dim: int) -> float:
    """Return the mean KL of the optimum: half the log of eigenvalue over sigma^2, over the active latents."""
    return float(0.5 * np.log(values[: active_latents(values, sigma, latent_dim)] / sigma**2).sum())


EXPERIMENT = DontBlameTheELBOProtocol()
