"""What a metric may look at: a data set at the K levels of a study, split by split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import Binarize, Levels, levels_of


@dataclass(frozen=True)
class Data:
    """A prepared data set at K levels, on a device; a split is read when it is first asked for.

    Args:
        prepared: the data set, which also has every split at native levels.
        levels: K.
        binarize: how K = 2 comes about.
        device: where images and labels lie.
        store: the folder of all that was computed, by key: where a metric may keep what many cells share.
    """

    prepared: PreparedDataset
    levels: int
    binarize: Binarize
    device: torch.device
    store: Path

    @cached_property
    def train(self) -> Levels:
        """The images that were trained on; where every epoch draws its own, one draw."""
        found = self._split("train")
        return replace(found, images=found.of_epoch(seed=0, epoch=0), redrawn=False)

    @cached_property
    def validation(self) -> Levels:
        """The images that settings and the best epoch were chosen on."""
        return self._split("validation")

    @cached_property
    def test(self) -> Levels:
        """The images that scores are measured on."""
        return self._split("test")

    def _split(self, split: str) -> Levels:
        return levels_of(self.prepared, split, self.levels, self.binarize).to(self.device)
