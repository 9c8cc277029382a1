"""What a metric may read: a data set at the K levels of a study, split by split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import Binarize, Levels, levels_of

Keep = Callable[[str, Callable[[PreparedDataset], dict[str, Tensor]]], dict[str, Tensor]]


@dataclass(frozen=True)
class Data:
    """A prepared data set at K levels, on a device; a split is read when it is first asked for.

    Args:
        prepared: the data set, which also has every split at native levels.
        levels: K.
        binarize: how images get two levels.
        device: where images and labels lie.
        keep: ``keep(name, compute)`` returns the tensors that `compute` makes of the prepared data set. They
            are computed once, whichever cell and process asks first: for what is costly and depends on the
            data alone. `compute` is a function of a module.
        trained_on: how many images of train the model saw; None: all.
    """

    prepared: PreparedDataset
    levels: int
    binarize: Binarize
    device: torch.device
    keep: Keep
    trained_on: int | None = None

    @cached_property
    def train(self) -> Levels:
        """The images of training; one draw of them, where every epoch draws its own."""
        split = self._split("train").some(self.trained_on)
        return replace(split, images=split.of_epoch(seed=0, epoch=0), redrawn=False)

    @cached_property
    def validation(self) -> Levels:
        """The images by which settings and the best epoch were chosen."""
        return self._split("validation")

    @cached_property
    def test(self) -> Levels:
        """The images that scores are measured on."""
        return self._split("test")

    def _split(self, split: str) -> Levels:
        return levels_of(self.prepared, split, self.levels, self.binarize).to(self.device)
