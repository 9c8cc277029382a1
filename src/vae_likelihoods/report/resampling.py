"""How sure a difference is: a bootstrap over images and seeds, on arrays of scores in nats per image.

*Images* are drawn with replacement, the same draw for every setting, so a difference stays paired.
*Seeds* are few, often two, and two draws with replacement would show half of their spread or none. So their
effect is drawn from the theory of normal errors about a mean of S numbers: s / sqrt(S) times a Student t.
s^2 is pooled over the settings of a family (the latent sizes of a likelihood), which together have
d = sum (S - 1) degrees of freedom. A family with d below 2 takes the s^2 and d of all families together, but
keeps its own s^2 if that is larger. Seeds of different settings are independent.

What is particular to a pair of seed and image is, divided by S, in the image part, and again in the seed
part. So intervals are a little too wide rather than too narrow, as they are when rows and columns are both
drawn (Owen 2007, The pigeonhole bootstrap, theorem 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

REPLICATES = 5_000
CONFIDENCE = 0.95
_ENOUGH = 2  # degrees of freedom from which on a family uses its own spread
_HELD = 1 << 22  # counts of drawn images that are in memory at once
_ROUNDING = 1e-9  # of a score: smaller differences count as none


class SeedSpread(NamedTuple):
    """The effect of other seeds on n settings."""

    variance: Floats  # [n] of the mean over a setting's seeds, nats^2
    degrees: Floats  # [n] degrees of freedom of the estimate
    family: NDArray[np.intp]  # [n] settings with the same number share the estimate


class Interval(NamedTuple):
    """A confidence interval, in the unit of the scores."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Every setting compared with every other one; n settings, N images, R replicates.

    Attributes:
        means: [n] mean over seeds and images.
        own_errors: [n] standard error of each mean.
        errors: [n, n] standard error of the paired difference of two means.
        degrees: [n, n] its degrees of freedom (Welch 1947, Satterthwaite 1946).
        centred: [n, N] the means over seeds minus the means over seeds and images.
        seeds: the effect of other seeds.
        count: R.
    """

    means: Floats
    own_errors: Floats
    errors: Floats
    degrees: Floats
    centred: Floats
    seeds: SeedSpread
    count: int

    def interval(self, left: int, right: int, corrected: bool = True) -> Interval:
        """Return the 95 % interval of the mean of `left` minus that of `right`.

        Alone, it is wide enough for 95 % of the replicates. Corrected, it holds together with the intervals
        of all other differences of `left`. So it also holds if `right` is the setting that looks best,
        although that was chosen by the same data.
        """
        difference = self.means[left] - self.means[right]
        if corrected:
            t = special.stdtrit(self.degrees[left, right], 1 - self.levels[left] / 2)
            reach = float(t * self.errors[left, right])
        else:
            shifts = self._shifts[:, left] - self._shifts[:, right]
            reach = float(np.quantile(np.abs(shifts), CONFIDENCE))
        return Interval(float(difference - reach), float(difference + reach))

    def p_value(self, left: int, right: int) -> float:
        """Return how often some difference of `left` would look as large as this one if there were none."""
        p = self._p(self.means[left] - self.means[right], left, right)
        return (1 + int((self._smallest_p[:, left] <= p).sum())) / (1 + len(self.replicates))

    def best_share(self) -> Floats:
        """Return the share of replicates in which each setting has the lowest mean, [n]."""
        wins = np.bincount(self.replicates.argmin(1), minlength=len(self.means))
        share: Floats = wins / len(self.replicates)
        return share

    @cached_property
    def replicates(self) -> Floats:
        """[R, n] The means if images and seeds are drawn again."""
        return self.means + self._shifts

    @cached_property
    def _shifts(self) -> Floats:
        """[R, n] By how much the means change then."""
        draws = np.random.default_rng(0)
        return _of_images(self.centred, self.count, draws) + _of_seeds(self.seeds, self.count, draws)

    @cached_property
    def levels(self) -> Floats:
        """[n] The level of each difference of a setting at which all of them hold together in 95 %.

        A difference over its standard error has a p-value by Student's t. On that scale, differences of
        unlike certainty can be compared. The replicates show how small the smallest p-value gets by chance:
        in them, differences depend on each other and on the few seeds as they do in the study.
        """
        levels: Floats = np.quantile(self._smallest_p, 1 - CONFIDENCE, axis=0)
        return levels

    @cached_property
    def _smallest_p(self) -> Floats:
        """[R, n] The smallest p-value of a setting's differences, if the true means are as estimated."""
        shifts, smallest = self._shifts, np.ones_like(self._shifts)
        for setting in range(len(self.means)):
            others = np.delete(np.arange(len(self.means)), setting)
            if others.size:
                differences = shifts[:, [setting]] - shifts[:, others]
                smallest[:, setting] = self._p(differences, setting, others).min(1)
        return smallest

    def _p(self, difference: Floats | float, left: int, right: NDArray[np.intp] | int) -> Floats:
        """Return two-sided p-values of differences by Student's t."""
        t = np.abs(difference) / self.errors[left, right]
        p: Floats = 2 * special.stdtr(self.degrees[left, right], -t)
        return p


def compare(scores: Sequence[Floats], families: Sequence[str], replicates: int = REPLICATES) -> Comparisons:
    """Compare n settings on the same images.

    Args:
        scores: nats per image of each setting, [S, N]. S may differ between settings; the images may not.
        families: the likelihood of each setting: settings of one family share the spread of their seeds.
        replicates: R.
    """
    by_image = np.stack([setting.mean(0) for setting in scores])  # [n, N]
    means, images = by_image.mean(1), by_image.shape[1]
    centred, seeds = by_image - means[:, None], seed_spread(scores, families)
    covariance = centred @ centred.T / (max(1, images - 1) * images)  # of the means, by images alone
    own = np.sqrt(np.diag(covariance) + seeds.variance)
    errors, degrees = _errors(covariance, seeds, images)
    least = _ROUNDING * (1 + float(np.abs(means).max()))
    return Comparisons(means, own, np.maximum(errors, least), degrees, centred, seeds, replicates)


def seed_spread(scores: Sequence[Floats], families: Sequence[str]) -> SeedSpread:
    """Return the spread of seeds of n settings [S, N], pooled by family, or over all if a family has few.

    If no setting has two seeds the spread is 0. Then all results are about these trained models alone.
    """
    names = sorted(set(families))
    family = np.array([names.index(name) for name in families])
    seeds = np.array([len(setting) for setting in scores])
    squares = np.array([((setting.mean(1) - setting.mean()) ** 2).sum() for setting in scores])
    degrees = np.bincount(family, seeds - 1).astype(np.float64)
    if not degrees.any():
        return SeedSpread(np.zeros(len(scores)), np.full(len(scores), np.inf), family)
    own = np.bincount(family, squares) / np.maximum(degrees, 1)
    few, pooled = degrees < _ENOUGH, squares.sum() / degrees.sum()
    variance = np.where(few, np.maximum(own, pooled), own)
    shared = np.where(few, len(names), np.arange(len(names)))  # all families with few count as one
    degrees = np.where(few, degrees.sum(), degrees)
    return SeedSpread(variance[family] / seeds, degrees[family], shared[family])


def _of_images(centred: Floats, replicates: int, draws: np.random.Generator) -> Floats:
    """Return by how much the means of n settings [n, N] change when N images are drawn again, [R, n]."""
    images = centred.shape[1]
    held = max(1, _HELD // images)
    sizes = [min(held, replicates - start) for start in range(0, replicates, held)]
    even = np.full(images, 1 / images)
    return np.concatenate([draws.multinomial(images, even, size) @ centred.T / images for size in sizes])


def _of_seeds(seeds: SeedSpread, replicates: int, draws: np.random.Generator) -> Floats:
    """Return by how much other seeds would change the means, [R, n]: Student t, with one scale a family."""
    normal = draws.standard_normal((replicates, len(seeds.variance)))
    if np.isinf(seeds.degrees).all():
        return np.zeros_like(normal)
    of_family = np.ones(seeds.family.max() + 1)
    of_family[seeds.family] = seeds.degrees
    scale = draws.chisquare(of_family, (replicates, len(of_family))) / of_family
    return normal * np.sqrt(seeds.variance / scale[:, seeds.family])


def _errors(covariance: Floats, seeds: SeedSpread, images: int) -> tuple[Floats, Floats]:
    """Return standard errors and degrees of freedom of all differences, [n, n] each."""
    own = np.diag(covariance)
    by_image = np.maximum(own[:, None] + own - 2 * covariance, 0.0)
    left, right = seeds.variance[:, None], seeds.variance
    same_family = seeds.family[:, None] == seeds.family  # one estimate for both, so its errors add up
    by_seed = np.where(
        same_family,
        (left + right) ** 2 / seeds.degrees,
        left**2 / seeds.degrees[:, None] + right**2 / seeds.degrees,
    )
    total = by_image + left + right
    of_images = max(1.0, images - 1.0)
    spread = by_seed + by_image**2 / of_images
    degrees = np.divide(total**2, spread, out=np.full_like(total, of_images), where=spread > 0)
    return np.sqrt(total), degrees
