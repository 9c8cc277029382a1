"""Discretised logistics whose pmf does not sum to 1, on the 256 levels that they were written for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference

Floats = NDArray[np.float64]
Pmf = Callable[[float, float], Floats]

_K = 256
_LEVELS = np.arange(_K, dtype=np.float64)


def pmf_on_minus_one_to_one(mean: float, log_scale: float, last_above: float = 0.999) -> Floats:
    """Return P(k), [256], of a logistic at x = 2k/255 - 1: the bin x ± 1/255, the tails in the end bins.

    The end bins are recognised by x, as in PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517).
    """
    x = 2 * _LEVELS / (_K - 1) - 1
    below, above = (expit((x + side / (_K - 1) - mean) / math.exp(log_scale)) for side in (-1, 1))
    return np.where(x < -0.999, above, np.where(x > last_above, 1 - below, above - below))


# Seen in copies of the PixelCNN++ loss. Level 254 is at 0.9922, so two levels get the whole upper tail.
def pmf_with_last_bin_at_099(mean: float, log_scale: float) -> Floats:
    """Return the same, but the last bin is where x > 0.99."""
    return pmf_on_minus_one_to_one(mean, log_scale, last_above=0.99)


# Seen as `discretized_logistic` and `log_Logistic_256` in code for inverse autoregressive flows. That code
# adds 1e-7 to each probability, to avoid log 0.
def pmf_without_end_bins(mean: float, log_scale: float) -> Floats:
    """Return P(k), [256], as F((k+1)/256) - F(k/256) for pixels in [0, 1], also in the end bins."""
    edges = np.arange(_K + 1) / _K
    return np.diff(expit((edges - mean) / math.exp(log_scale)))


def pmf_with_end_bins(mean: float, log_scale: float) -> Floats:
    """Return the same with F(0) := 0 and F(1) := 1."""
    inner = np.arange(1, _K) / _K
    cdf = expit((inner - mean) / math.exp(log_scale))
    return np.diff(cdf, prepend=0.0, append=1.0)


def last_bin(images: Images, seed: int) -> GalleryRow:
    """Return the sum of the pmf whose last bin begins at 0.99."""
    return GalleryRow(
        written="`x > 0.99` is the last bin, pixels in [-1, 1]",
        right="`x > 0.999`: 254 of 255 is 0.9922",
        findings=_sums(pmf_on_minus_one_to_one, pmf_with_last_bin_at_099, ((1, -1), (1, -7))),
    )


def no_end_bins(images: Images, seed: int) -> GalleryRow:
    """Return the sum of the pmf whose tails belong to no level."""
    return GalleryRow(
        written="`F((k+1)/256) - F(k/256)` for every k",
        right="tails to the end bins: `F(0) := 0`, `F(1) := 1`",
        findings=_sums(pmf_with_end_bins, pmf_without_end_bins, ((0, -3), (1, -3), (0.5, 0))),
    )


def _sums(right: Pmf, wrong: Pmf, cases: tuple[tuple[float, float], ...]) -> tuple[Cost, ...]:
    return tuple(
        difference(
            f"sum of the pmf, mean {mean:g}, log-scale {log_scale:g}",
            right(mean, log_scale).sum(),
            wrong(mean, log_scale).sum(),
            "of 1",
        )
        for mean, log_scale in cases
    )
