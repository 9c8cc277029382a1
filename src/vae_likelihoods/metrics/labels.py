"""Which labels a data set has, for the metrics that need them."""

from __future__ import annotations

from torch import Tensor

from vae_likelihoods.metrics.base import Missing
from vae_likelihoods.metrics.data import Data


def classes(data: Data) -> tuple[Tensor, Tensor] | Missing:
    """Return the classes of the images of train [N] and test [M], if there are several to tell apart."""
    train, test = data.train.labels, data.test.labels
    if train is None or test is None:
        return Missing("the data set has no labels")
    if train.ndim > 1:
        return Missing("the labels are factors, not classes")
    if len(train.unique()) < 2:
        return Missing("all images of train have one class")
    return train, test


def factors(data: Data) -> tuple[Tensor, Tensor] | Missing:
    """Return the values of the factors of the images of train [N, F] and test [M, F]."""
    train, test = data.train.labels, data.test.labels
    if train is None or test is None:
        return Missing("the data set has no labels")
    if train.ndim == 1:
        return Missing("the labels are classes, not factors")
    return train, test
