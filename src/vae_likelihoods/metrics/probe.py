"""How well the class can be told from the latent means: by a linear probe, and by nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

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
from vae_likelihoods.metrics.base import Floats, Metric, Missing, Value, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.labels import classes
from vae_likelihoods.metrics.uncertainty import ONE_IMAGE
from vae_likelihoods.models.blocks import encoded
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import Quantity

Labels = NDArray[np.int64]
SHARE = Quantity("share of images")
_MAJORITY = "accuracy of always naming the most frequent class of train, which needs no latents"


@dataclass(frozen=True)
class Probe(Metric):
    """Accuracy on test of classifiers of the posterior's mean, fitted on train (Alain & Bengio 2016).

    Args:
        neighbours: how many of the nearest training images vote, by Euclidean distance of the means.
        regularisation: C of scikit-learn's `LogisticRegression`, on means scaled to variance 1.
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
    def declarations(self, levels: int) -> list[Declaration]:
        accuracy = partial(Declaration, quantity=SHARE, format=".4g")
        speaks = partial(accuracy, better="higher", purpose="representation")
        votes = f"accuracy of a vote of the {self.neighbours} nearest training images in latent space"
        numbers = [
            speaks("linear_probe_accuracy", "accuracy of logistic regression", header="probe accuracy"),
            speaks("knn_accuracy", votes, header="kNN accuracy"),
            accuracy("majority_accuracy", _MAJORITY, header="majority accuracy"),
        ]
        return [each for number in numbers for each in (number, number.standard_error())]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        labelled = classes(data)
        if isinstance(labelled, Missing):
            return self.without(data, labelled)
        train, test = (self._means(model, split.images) for split in (data.train, data.test))
        labels, answers = (each.cpu().numpy() for each in labelled)
        # Another number of threads gives other last digits; one for each core in each process is too many.
        with threadpool_limits(torch.get_num_threads()):
            predicted = {
                "linear_probe": self.linear(train, labels, test),
                "knn": self.nearest(train, labels, test),
                "majority": np.full(len(test), most_frequent(labels)),
            }
        return summarise({name: named == answers for name, named in predicted.items()})

    def _means(self, model: VAE, images: Tensor) -> Floats:
        return numpy([encoded(model, batch).mean for batch in in_batches(images, self.batch_size)])

    def linear(self, train: Floats, labels: Labels, test: Floats) -> Labels:
        """Return the classes [M] of test points [M, L] by logistic regression on train points [N, L]."""
        regression = LogisticRegression(C=self.regularisation, max_iter=1000)
        answers: Labels = make_pipeline(StandardScaler(), regression).fit(train, labels).predict(test)
        return answers

    def nearest(self, train: Floats, labels: Labels, test: Floats) -> Labels:
        """Return the classes [M] of test points [M, L] that most of the nearest train points [N, L] have."""
        votes = KNeighborsClassifier(min(self.neighbours, len(train))).fit(train, labels)
        answers: Labels = votes.predict(test)
        return answers


def most_frequent(labels: Labels) -> np.int64:
    """Return the class that most of [N] labels are; of several the first."""
    values, counts = np.unique(labels, return_counts=True)
    answer: np.int64 = values[counts.argmax()]
    return answer


def summarise(right: Mapping[str, NDArray[np.bool_]]) -> Values:
    """Return accuracies, and standard errors over images, from which predictions [M] are right."""
    values: dict[str, Value] = {}
    for name, hits in right.items():
        share = float(hits.mean())
        values[f"{name}_accuracy"] = hits.astype(np.float64)
        error = math.sqrt(share * (1 - share) / len(hits))
        values[f"{name}_accuracy_se"] = error if len(hits) > 1 else ONE_IMAGE
    return values
