"""Data whose splits are given, for metrics whose answer is known."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.metrics.data import Data


class Given(Data):
    """Data of which nothing is read from a file."""

    def __init__(self, splits: dict[str, Levels], levels: int, store: Path) -> None:
        prepared = PreparedDataset.__new__(PreparedDataset)
        super().__init__(prepared, levels, "threshold", torch.device("cpu"), store)
        object.__setattr__(self, "splits", splits)

    def _split(self, split: str) -> Levels:
        found: Levels = vars(self)["splits"][split]
        return found


def given(test: Tensor, levels: int = 4, labels: Tensor | None = None, store: Path = Path("unused")) -> Data:
    """Return data whose three splits are the same images [N, C, H, W]; labels count 0, 1, 2, 0, 1, ..."""
    labels = torch.arange(len(test)) % 3 if labels is None else labels
    split = Levels(test, labels, levels, levels)
    return Given({"train": split, "validation": split, "test": split}, levels, store)
