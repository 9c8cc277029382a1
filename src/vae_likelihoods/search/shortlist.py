"""Which likelihoods and latent sizes are worth a race, by what the train images are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vae_likelihoods.cells.build import likelihoods_for

Names = tuple[str, ...]

_FEW_LEVELS = 32
_AT_THE_ENDS = 0.1  # share of the pixels with the lowest or the highest level
_LARGE = 512  # pixels times channels

_TWO: Names = ("bernoulli", "gaussian_learned", "continuous_bernoulli")
_FEW: Names = ("logistic_mixture", "categorical", "beta_binomial", "binomial", "gaussian_learned")
# Much pure black or white: laws that can pile probability up there, and the habits.
_ENDS: Names = (
    "logistic_mixture",
    "beta_binomial",
    "kumaraswamy",
    "gaussian_learned",
    "truncated_gaussian",
    "gaussian",
)
# Photographs: laws with a peak and tails, and the habits.
_SMOOTH: Names = (
    "logistic_mixture",
    "beta_binomial",
    "student_t",
    "logistic",
    "gaussian_learned",
    "gaussian",
)


def shortlist(counts: Sequence[int], levels: int) -> tuple[list[str], str]:
    """Return five or six likelihoods, or three for two levels, and the reason in words.

    Args:
        counts: how often each level occurs in the train images, [native_levels].
        levels: K of the study.
    """
    used, total = sum(count > 0 for count in counts), sum(counts)
    ends = (counts[0] + counts[-1]) / total
    if levels == 2:
        names, reason = _TWO, "2 levels"
    elif min(used, levels) <= _FEW_LEVELS:
        names, reason = _FEW, f"{min(used, levels)} levels occur"
    elif ends > _AT_THE_ENDS:
        names, reason = _ENDS, f"{100 * ends:.0f} % of the pixels have the lowest or the highest level"
    else:
        names, reason = _SMOOTH, f"only {100 * ends:.2g} % of the pixels have the lowest or the highest level"
    possible = set(likelihoods_for(levels))
    return [name for name in names if name in possible], reason


def latent_dims(shape: Iterable[int]) -> list[int]:
    """Return the latent sizes of a race: larger images need more.

    Example:
        >>> latent_dims((1, 28, 28)), latent_dims((1, 8, 8))
        ([8, 32, 128], [2, 8, 32])
    """
    return [8, 32, 128] if math.prod(shape) > _LARGE else [2, 8, 32]
