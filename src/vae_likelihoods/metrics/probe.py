"""Whether the latent means know the class: a linear probe, and nearest neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.metrics.base import (
    Better,
    Floats,
    Measured,
    Metric,
    Number,
    averaged,
    in_batches,
    numpy,
)
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import Quantity

Labels = NDArray[np.int64]
SHARE = Quantity("share of images")


@dataclass(frozen=True)
class Probe(Metric):
    """Accuracy on test of classifiers of the posterior's mean, fitted on train (Alain & Bengio 2016).

    Args:
        neighbours: k of the k nearest training images that vote, by Euclidean distance of the means.
        regularisation: C of scikit-learn's `LogisticRegression`, of means scaled to variance 1.
        batch_size: images encoded at once.
    """

    neighbours: int
    regularisation: float
    batch_size: int

    def __post_init__(self) -> None:
        require_count("neighbours", self.neighbours)
        positive = 0 < self.regularisation < math.inf
        require(positive, "regularisation", self.regularisation, "must be a positive number")
        require_count("batch_size", self.batch_size)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        if data.train.labels.ndim > 1:  # of factors, see disentanglement
            return Measured({})
        train, test = (self._means(model, split.images) for split in (data.train, data.test))
        known, asked = (split.labels.cpu().numpy() for split in (data.train, data.test))
        # Other numbers of threads give other last digits, and as many as cores in each process are too many.
        with threadpool_limits(torch.get_num_threads()):
            predicted = {
                "linear_probe": self.linear(train, known, test),
                "knn": self.nearest(train, known, test),
                "majority": np.full(len(test), np.bincount(known).argmax()),
            }
        return Measured(summarise({name: found == asked for name, found in predicted.items()}))

    def _means(self, model: VAE, images: Tensor) -> Floats:
        return numpy([model.posterior(batch).mean for batch in in_batches(images, self.batch_size)])

    def linear(self, train: Floats, labels: Labels, test: Floats) -> Labels:
        """Return the classes [M] of test points [M, L] by logistic regression on train points [N, L]."""
        if len(np.unique(labels)) == 1:  # nothing to learn, which scikit-learn refuses
            return np.full(len(test), labels[0])
        regression = LogisticRegression(C=self.regularisation, max_iter=1000)
        found: Labels = make_pipeline(StandardScaler(), regression).fit(train, labels).predict(test)
        return found

    def nearest(self, train: Floats, labels: Labels, test: Floats) -> Labels:
        """Return the classes [M] of test points [M, L] that most of the nearest train points [N, L] have."""
        votes = KNeighborsClassifier(min(self.neighbours, len(train))).fit(train, labels)
        found: Labels = votes.predict(test)
        return found


def summarise(right: dict[str, NDArray[np.bool_]]) -> dict[str, Number]:
    """Return accuracies, and standard errors over images, from which predictions [M] are right."""
    numbers = {}
    for name, found in right.items():
        better: Better | None = None if name == "majority" else "higher"
        accuracy = averaged(found.astype(np.float64), SHARE, better)
        numbers[f"{name}_accuracy"] = accuracy
        share = float(found.mean())
        numbers[f"{name}_accuracy_se"] = Number(math.sqrt(share * (1 - share) / len(found)), SHARE)
    return numbers
