"""Whether each latent stands for one factor of variation, for data sets whose labels are factors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Metric, Missing, Value, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.labels import factors
from vae_likelihoods.metrics.measures.disentangling import Codes, Factors, dci, mutual_information_gap
from vae_likelihoods.models.blocks import encoded
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import Quantity


@dataclass(frozen=True)
class Disentanglement(Metric):
    """MIG and DCI of the posterior's means (`disentangling`), where labels are factors: integers [N, F].

    Labels [N] are classes, and a class is not a factor of variation. All data sets in conf/dataset have
    classes only. For these the numbers are missing, with this reason.

    Args:
        bins: into which each latent is cut for the MIG.
        trees: of the random forest that predicts a factor, for DCI.
        batch_size: images encoded at once.
    """

    bins: int
    trees: int
    batch_size: int

    def __post_init__(self) -> None:
        require_count("bins", self.bins, least=2)
        require_count("trees", self.trees)
        require_count("batch_size", self.batch_size)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        entropy, share = Quantity("1 minus relative entropy"), Quantity("share of images")
        gap = Quantity("share of a factor's entropy")
        higher = partial(Declaration, format=".3f", better="higher")
        return [
            higher("mig", "how much more of a factor the best latent knows than the next one", gap, "MIG"),
            higher(
                "dci_disentanglement", "whether each latent matters for one factor only", entropy, "DCI: D"
            ),
            higher("dci_completeness", "whether one latent only matters for each factor", entropy, "DCI: C"),
            higher("dci_informativeness", "accuracy of predicting the factors, mean", share, "DCI: I"),
        ]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        labelled = factors(data)
        if isinstance(labelled, Missing):
            return self.without(data, labelled)
        train, test = (
            (self._codes(model, split.images), values.cpu().numpy())
            for split, values in zip((data.train, data.test), labelled, strict=True)
        )
        with threadpool_limits(torch.get_num_threads()):
            return self.summarise(train, test)

    def _codes(self, model: VAE, images: Tensor) -> Codes:
        return numpy([encoded(model, batch).mean for batch in in_batches(images, self.batch_size)])

    def summarise(self, train: tuple[Codes, Factors], test: tuple[Codes, Factors]) -> Values:
        """Return the numbers of codes [N, L] and factors [N, F]; DCI is fitted on train."""
        varying = (test[1] != test[1][:1]).any()
        values: dict[str, Value] = {
            "mig": mutual_information_gap(*test, self.bins)
            if varying
            else Missing("no factor varies in test"),
            **{f"dci_{name}": value for name, value in dci(train, test, self.trees)._asdict().items()},
        }
        # Of one factor, or one latent, there is nothing to be mixed with: both would be 1 whatever the model.
        if test[1].shape[1] == 1:
            values["dci_disentanglement"] = Missing("there is one factor")
        if test[0].shape[1] == 1:
            values["dci_completeness"] = Missing("there is one latent")
        return values
