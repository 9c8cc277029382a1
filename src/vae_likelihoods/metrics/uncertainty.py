"""Standard errors over images."""

from __future__ import annotations

import math

from vae_likelihoods.metrics.base import Better, Floats, Number, averaged
from vae_likelihoods.units import Quantity


def standard_error(per_image: Floats) -> float:
    """Return the standard error over images of the mean of [N] numbers, N at least 2."""
    return float(per_image.std(ddof=1) / math.sqrt(len(per_image)))


def with_error(
    name: str, per_image: Floats, quantity: Quantity, better: Better | None = None, kept: bool = True
) -> dict[str, Number]:
    """Return the mean of [N] numbers as `name` and its standard error as `name`_se.

    Args:
        name: of the mean.
        per_image: a number for every image, N at least 2.
        quantity: their unit.
        better: the direction of a better model.
        kept: whether the numbers are those of the whole test split, in its order, so that each is kept.
    """
    mean = averaged(per_image, quantity, better)
    mean = mean if kept else Number(mean.value, quantity, None, better)
    return {name: mean, f"{name}_se": Number(standard_error(per_image), quantity)}
