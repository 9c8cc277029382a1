"""Standard errors over images."""

from __future__ import annotations

from scipy.stats import sem

from vae_likelihoods.metrics.base import Floats, Missing, Value

ONE_IMAGE = Missing("a standard error needs two images")


def standard_error(per_image: Floats) -> float | Missing:
    """Return the standard error of the mean of [N] numbers; of one number there is none."""
    return float(sem(per_image)) if len(per_image) > 1 else ONE_IMAGE


def with_error(name: str, per_image: Floats, kept: bool = True) -> dict[str, Value]:
    """Return [N] numbers as `name`, and the standard error of their mean as `<name>_se`.

    Args:
        name: of the number.
        per_image: a number for each image.
        kept: whether they are those of the whole test split, in its order; if not, only their mean is given.
    """
    value: Value = per_image if kept else float(per_image.mean())
    return {name: value, f"{name}_se": standard_error(per_image)}
