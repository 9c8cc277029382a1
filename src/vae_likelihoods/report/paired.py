"""Paired differences of means over images and seeds: confidence intervals and p-values.

All functions work on arrays of differences, so a simulation of thousands of studies runs through the same
lines as a report. The variance of a difference has three parts: that of the images, and those of the seeds of
either setting.

*Degrees of freedom* are those of Welch (1947) and Satterthwaite (1946), on the safe side. The variance of the
images has as many as images that carry it, less one: N/3 if images are normal, few if a few images dominate.
And a variance that is far too small by chance would count for too little. So each part in turn is raised to
an upper limit, and the fewest degrees count.

*Skewness.* A mean over skewed images and its standard error err together. Hall's cubic transformation (1992,
On the removal of skewness by transformation) takes that out of T = (difference - truth) / error. A sample
shows less skewness than there is, so one standard error is added to it.

Where there are fewer than 20 images, or fewer than 2.5 carry the variance, no formula helps, and nothing is
known. All limits were chosen by simulation: benchmarks/coverage.py shows what they give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vae_likelihoods.report.seeds import Floats, SeedSpread

FEWEST_IMAGES = 20
FEWEST_CARRYING = 2.5


class ImagePart(NamedTuple):
    """What a mean of N values, one for each image, owes to these images; all [...]."""

    variance: Floats  # of the mean
    skewness: Floats  # of the mean, with one standard error more
    carrying: Floats  # how many images carry the variance: (sum d^2)^2 / sum d^4, from 1 to N
    known: NDArray[np.bool_]  # whether they are enough


class Differences(NamedTuple):
    """Differences of two means, with all that an interval needs; all [...]."""

    mean: Floats
    error: Floats
    degrees: Floats
    skewness: Floats
    known: NDArray[np.bool_]

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Return both ends of the intervals that miss the truth with probability `level`."""
        reach = np.asarray(special.stdtrit(self.degrees, 1 - level / 2), np.float64)
        low = self.mean - self.error * _skewed(reach, self.skewness)
        return low, self.mean - self.error * _skewed(-reach, self.skewness)

    def p_values(self) -> Floats:
        """Return the two-sided p-values of no difference."""
        t = _unskewed(self.mean / self.error, self.skewness)
        p: Floats = 2 * special.stdtr(self.degrees, -np.abs(t))
        return p


def of_images(values: Floats, least: float = 0.0) -> ImagePart:
    """Return what the mean over the last axis owes to its images, [..., N] to [...].

    Args:
        values: paired differences, or scores.
        least: values that differ by less, root mean square, count as equal.
    """
    count = values.shape[-1]
    centred = values - values.mean(-1, keepdims=True)
    squares = centred * centred
    second = squares.sum(-1)
    third, fourth = (np.einsum("...i,...i->...", squares, other) for other in (centred, squares))
    equal = second <= count * max(least, 1e-60) ** 2
    second, fourth = np.where(equal, 1.0, second), np.where(equal, 1.0 / count, fourth)
    skewness = np.where(equal, 0.0, third / second**1.5)
    carrying = second**2 / fourth
    return ImagePart(
        variance=np.where(equal, 0.0, second / (max(1, count - 1) * count)),
        skewness=skewness + np.sign(skewness) * math.sqrt(6) / count,
        carrying=carrying,
        known=(count >= FEWEST_IMAGES) & (carrying >= FEWEST_CARRYING),
    )


def differences(
    mean: Floats, images: ImagePart, left: SeedSpread, right: SeedSpread, least: float = 0.0
) -> Differences:
    """Return the differences of two means, all arguments broadcast together.

    Args:
        mean: the difference.
        images: what it owes to the images.
        left: what the one mean owes to its seeds.
        right: what the other one owes to its own, independently.
        least: the smallest standard error.
    """
    # The settings of one family have one estimate, so its errors add up to one part.
    same = left.family == right.family
    of_left = np.where(same, left.variance + right.variance, left.variance)
    of_right = np.where(same, 0.0, right.variance)
    of_both, free = of_left + of_right, np.maximum(1, images.carrying - 1)
    parts = [(images.variance, free), (of_left, left.degrees), (of_right, right.degrees)]
    raised = _raised(images.variance, free)
    share = raised / np.maximum(raised + of_both, np.finfo(np.float64).tiny)
    return Differences(
        mean=mean,
        error=np.maximum(np.sqrt(images.variance + of_both), least),
        degrees=np.min([_degrees(parts, place) for place in range(len(parts))], axis=0),
        skewness=images.skewness * share**1.5,
        known=images.known,
    )


def _degrees(parts: Sequence[tuple[Floats, Floats]], place: int) -> Floats:
    """Return the degrees of freedom of a sum of variances, one of them raised; the first's if all are 0."""
    total, spread = np.zeros(()), np.zeros(())
    for each, (variance, degrees) in enumerate(parts):
        part = _raised(variance, degrees) if each == place else variance
        total, spread = total + part, spread + part**2 / degrees
    otherwise = np.broadcast_to(parts[0][1], spread.shape).copy()
    return np.divide(total**2, spread, out=otherwise, where=spread > 0)


def _raised(variance: Floats, degrees: Floats) -> Floats:
    """Return a variance that the true one seldom exceeds."""
    return variance * (2 + 4.5 / degrees)


def _unskewed(t: Floats, skewness: Floats) -> Floats:
    """Return Hall's transformation of T, about a Student t: T + g T^2 / 3 + g^2 T^3 / 27 + g / 6."""
    return t + skewness * (t**2 / 3 + 1 / 6) + skewness**2 * t**3 / 27


def _skewed(y: Floats, skewness: Floats) -> Floats:
    """Return the T with `_unskewed` T = y: 3 ((1 + g (y - g/6))^(1/3) - 1) / g, in a form for g = 0 too."""
    shifted = y - skewness / 6
    root = np.cbrt(1 + skewness * shifted)
    t: Floats = 3 * shifted / (root * root + root + 1)
    return t
