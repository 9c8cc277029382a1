"""The settings of training, and the learning rate that they give for each step."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Annotated, Literal

from pydantic import Field

from vae_likelihoods.training.sections import Count, Section

STAGES = 8  # of the schedule of Burda et al. 2016


class TrainingSettings(Section):
    """The settings of training; conf/training/default.yaml explains each field."""

    epochs: Count
    images: Count | None
    batch_size: Count
    evaluation_batch_size: Count
    schedule: Literal["constant", "cosine", "stages"]
    warmup_steps: Annotated[int, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    patience: Count | None
    keep: Literal["best", "last"]
    precision: Literal["float32", "bfloat16", "float64"]
    matmul: Literal["highest", "high", "medium"]
    grid_epochs: Count

    def kept_epoch(self, best: int, last: int) -> int:
        """Return the epoch whose weights are kept, of the best one so far and the last one."""
        return best if self.keep == "best" else last

    def learning_rate_factor(self, step: int, steps: int) -> float:
        """Return the factor of the learning rate in `step` (from 0) of `steps`."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            return rise
        if self.schedule == "stages":
            return rise * math.pow(10, -stage_of(step, steps, self.epochs) / 7)
        return rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def stage_of(step: int, steps: int, epochs: int) -> int:
    """Return i, 0 .. 7, the stage of `step` (from 0). Stage i lasts r^i epochs, r such that all have room.

    With 3280 epochs r is 3: the schedule of Burda et al. (2016, arXiv:1509.00519, section 5), whose learning
    rate in stage i is 10^(-i/7) of the first. Fewer epochs have the same eight rates and a smaller r.

    Example:
        >>> [stage_of(epoch, 3280, 3280) for epoch in (0, 1, 3, 4, 12, 13, 39, 40, 1092, 1093, 3279)]
        [0, 1, 1, 2, 2, 3, 3, 4, 6, 7, 7]
    """
    ends = itertools.accumulate(stage_ratio(epochs) ** i for i in range(STAGES))  # in epochs
    return sum(step >= round(steps * end / epochs) for end in itertools.islice(ends, STAGES - 1))


@functools.cache
def stage_ratio(epochs: int) -> float:
    """Return r >= 0 with 1 + r + ... + r^7 = `epochs`."""
    from scipy.optimize import brentq  # slow to import, and only this schedule needs it

    return float(brentq(lambda ratio: sum(ratio**i for i in range(STAGES)) - epochs, 0, epochs, xtol=1e-15))
