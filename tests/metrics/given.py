"""Data whose splits are given, and metrics applied to them: for tests whose answer is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from vae_likelihoods.datasets.prepared import LabelledImages, PreparedDataset
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.metrics.base import Measured, Metric
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.seeding import generator

_kept: dict[tuple[str, str], dict[str, Tensor]] = {}  # of one test process


class GivenPrepared(PreparedDataset):
    """A prepared data set of which nothing is read from a file; its native levels are those of the splits."""

    def __init__(self, splits: dict[str, Levels]) -> None:
        train = splits["train"]
        self.name, self.splits = "given", splits
        channels, height, width = train.images.shape[1:]
        self.shape, self.native_levels = (channels, height, width), train.native
        arrays = (train.images, *([] if train.labels is None else [train.labels]))
        content = b"".join(array.numpy().tobytes() for array in arrays)
        self.sha256 = hashlib.sha256(content).hexdigest()

    def split(self, split: str) -> LabelledImages:
        return LabelledImages(self.splits[split].images, self.splits[split].labels)


class Given(Data):
    """Data of which nothing is read from a file."""

    def __init__(self, splits: dict[str, Levels], levels: int) -> None:
        prepared = GivenPrepared(splits)

        def keep(name: str, compute: Callable[[PreparedDataset], dict[str, Tensor]]) -> dict[str, Tensor]:
            key = (name, prepared.sha256)
            _kept[key] = _kept.get(key) or compute(prepared)
            return _kept[key]

        super().__init__(prepared, levels, "threshold", torch.device("cpu"), keep)
        object.__setattr__(self, "splits", splits)

    def _split(self, split: str) -> Levels:
        images: Levels = vars(self)["splits"][split]
        return images


def given(
    test: Tensor,
    levels: int = 4,
    labels: Tensor | None = None,
    train: Levels | None = None,
) -> Data:
    """Return data with these test images [N, C, H, W]; labels count 0, 1, 2, 0, 1, ...

    All splits are the same images unless `train` is given.
    """
    split = Levels(test, counted(len(test)) if labels is None else labels, levels, levels)
    return Given({"train": train or split, "validation": split, "test": split}, levels)


def measure(metric: Metric, model: VAE, data: Data, purpose: str = "metric") -> Measured:
    """Return what a metric measures, as it is stored."""
    with torch.no_grad():
        return Measured.of(metric(model, data, generator(0, purpose)))


def counted(images: int) -> Tensor:
    """Return the labels 0, 1, 2, 0, 1, ... [N]."""
    return torch.arange(images) % 3
