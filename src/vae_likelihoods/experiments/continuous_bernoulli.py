"""Loaiza-Ganem and Cunningham 2019: cross-entropy on grey pixels lacks a normaliser, and models get worse.

Everywhere else this project refuses cross-entropy on grey pixels as a likelihood. Here a second part,
conf/experiment/cross_entropy_on_grey.yaml, trains on it. Cross-entropy has no score of its own: its models
are scored as the likelihoods that people take it for.
"""

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

_LOSSES = {"elbo": "minus the ELBO", "cross_entropy_on_grey": "cross-entropy + KL (wrong)"}
_RIGHT, _WRONG = _LOSSES.values()


class ContinuousBernoulliProtocol(PublishedProtocol):
    """The same network trained on cross-entropy and on the likelihoods that people take it for."""

    paper = "Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845"
    parts = ("cross_entropy_on_grey",)

    @override
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        numbers = ("bits_per_dim", "nll_nats", "rate_nats", "squared_error", "active_units")
        return {
            "loss": _LOSSES[cell.settings.names["objective"]],
            **{name: metrics[name] for name in numbers},
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "scored as", "trained on", "-log p(x), nats", "bits/dim", "rate, nats", "squared error",
            "active units",
        )  # fmt: skip
        rows = [
            (
                f"`{likelihood}`",
                str(loss),
                over_seeds(group["nll_nats"], 1),
                over_seeds(group["bits_per_dim"], 3),
                over_seeds(group["rate_nats"], 1),
                over_seeds(group["squared_error"], 4),
                over_seeds(group["active_units"], 1),
            )
            for (likelihood, loss), group in cells.groupby(["likelihood", "loss"], sort=False)
        ]
        return ProtocolTable(columns, sorted(rows, key=lambda row: row[0]), words=("scored as", "trained on"))

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        sentences = []
        for likelihood, group in cells.groupby("likelihood", sort=False):
            nats, rates = (by_seed(group, "loss", number) for number in ("nll_nats", "rate_nats"))
            loss = nats[_WRONG] - nats[_RIGHT]
            claim = f"Scored as `{likelihood}`, training on it is better than training on cross-entropy"
            sentences.append(
                f"{verdict(claim, loss > 0)} Cross-entropy loses {over_seeds(loss, 1)} nats an image, and"
                f" its rate is {over_seeds(rates[_WRONG] / rates[_RIGHT], 3)} times the right one."
            )
        return [
            *sentences,
            "The paper finds the normalised form better by a range of metrics, and its samples sharper;"
            " samples are not measured here.",
        ]

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        return [
            f"{setting(cells, 'dataset')}, {setting(cells, 'train_images')} images to train on; the paper has"
            " MNIST, 60,000. Its nats are of a density, ours of the mass over 256 levels: they cannot be"
            " compared.",
            f"{setting(cells, 'epochs')} epochs, the weights of the best validation ELBO; no dropout (the"
            " authors' code keeps 0.9), and pixels at k/255, not (k + u)/256.",
            "The binomial is not in the paper. Cross-entropy is its loss with the reconstruction divided by"
            " 255, so both of its rows beside `continuous_bernoulli` have the same weights.",
        ]


EXPERIMENT = ContinuousBernoulliProtocol()
