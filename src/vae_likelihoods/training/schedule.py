"""How long and how a model is trained: the settings, and the learning rate that they give each step."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Annotated, Literal

from pydantic import Field

from vae_likelihoods.training.sections import Count, Section

STAGES = 8  # of the schedule of Burda et al. 2016


class TrainingSettings(Section):
    """How long and how to train; conf/training/default.yaml says what each field means."""

    epochs: Count
    batch_size: Count
    evaluation_batch_size: Count
    schedule: Literal["constant", "cosine", "stages"]
    warmup_steps: Annotated[int, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    patience: Count | None
    keep: Literal["best", "last"]
    precision: Literal["float32", "bfloat16"]
    matmul: Literal["highest", "high", "medium"]
    grid_epochs: Count

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Return what the learning rate is multiplied by in `step` (from 0) of `steps`."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            return rise
        if self.schedule == "stages":
            return rise * math.pow(10, -stage_of(step, steps, self.epochs) / 7)
        return rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def stage_of(step: int, steps: int, epochs: int) -> int:
    """Return i, 0 .. 7, the stage of `step` (from 0) where stage i lasts r^i epochs, for the r that fits.

    3280 epochs make r = 3: the schedule of Burda et al. (2016, arXiv:1509.00519, section 5), whose learning
    rate in stage i is 10^(-i/7) of the first. Fewer epochs keep the eight rates, and make r smaller.

    Example:
        >>> [stage_of(epoch, 3280, 3280) for epoch in (0, 1, 3, 4, 12, 13, 39, 40, 1092, 1093, 3279)]
        [0, 1, 1, 2, 2, 3, 3, 4, 6, 7, 7]
    """
    ends = itertools.accumulate(stage_ratio(epochs) ** i for i in range(STAGES))  # in epochs
    return sum(step >= round(steps * end / epochs) for end in itertools.islice(ends, STAGES - 1))


@functools.cache
def stage_ratio(epochs: int) -> float:
    """Return r >= 0 with 1 + r + ... + r^7 = `epochs`, by bisection."""
    low, high = 0.0, float(epochs)
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if sum(middle**i for i in range(STAGES)) < epochs else (low, middle)
    return high
