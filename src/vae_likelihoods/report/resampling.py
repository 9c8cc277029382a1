"""How sure differences of settings are, on arrays of scores in nats per image; which setting may be the best.

All settings are scored on the same images, so a difference is taken image by image (`paired`); seeds of
different settings are independent (`seeds`). The intervals of one setting's differences to all n - 1 others
hold together if each has 1/(n - 1) of the 5 % (Bonferroni).

How often a setting is the best is counted in replicates. *Images* are drawn with replacement, the same draw
for every setting. *Seeds* are few, often two, and two draws with replacement would show half of their spread
or none. So their effect is drawn from the theory of normal errors: s / sqrt(S) times a Student t.

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

from vae_likelihoods.report.paired import Differences, ImagePart, differences, of_images
from vae_likelihoods.report.seeds import Floats, SeedSpread, rounding, seed_spread, uneven

REPLICATES = 5_000
CONFIDENCE = 0.95
_HELD = 1 << 22  # counts of drawn images that are in memory at once


class Interval(NamedTuple):
    """A confidence interval, in the unit of the scores."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Every setting compared with every other one; n settings, N images, R replicates.

    The truth that intervals hold is the mean over all images of this kind and all seeds. If no setting has a
    second seed, it is the mean over all images of the trained models.

    Attributes:
        means: [n] mean over seeds and images.
        own_errors: [n] standard error of each mean; NaN where too few images carry it.
        paired: [n, n] the differences of two means, rows minus columns.
        centred: [n, N] the means over seeds minus the means over seeds and images.
        seeds: the effect of other seeds.
        uneven: the settings whose seeds show that their effect is not normal, see `seeds.uneven`.
        count: R.
    """

    means: Floats
    own_errors: Floats
    paired: Differences
    centred: Floats
    seeds: SeedSpread
    uneven: list[int]
    count: int

    def known(self, left: int, right: int) -> bool:
        """Whether there are enough images for an interval, and none or two of them do not dominate."""
        return bool(self.paired.known[left, right])

    def interval(self, left: int, right: int, corrected: bool = True) -> Interval | None:
        """Return the 95 % interval of the mean of `left` minus that of `right`; None from too few images.

        Corrected, it holds together with the intervals of all other differences of `left`. So it also holds
        if `right` is the setting that looks best, although that was chosen by the same data.
        """
        if not self.known(left, right):
            return None
        low, high = self._corrected if corrected else self._alone
        return Interval(float(low[left, right]), float(high[left, right]))

    def p_value(self, left: int, right: int) -> float | None:
        """Return the p-value of no difference, corrected as the interval; None from too few images."""
        if not self.known(left, right):
            return None
        return min(1.0, self._comparisons * float(self._p_values[left, right]))

    def best_share(self) -> Floats:
        """Return the share of replicates in which each setting has the lowest mean, [n]; NaN if unknown.

        Settings that are equal in a replicate, such as one model under two names, have equal parts of it.

        Unknown is the share of a setting that cannot be compared with the one that looks best, and that of
        the best one if a setting of that kind is ever the best.
        """
        lowest = self.replicates <= self.replicates.min(1, keepdims=True) + rounding(self.means)
        wins = (lowest / lowest.sum(1, keepdims=True)).sum(0)
        best = int(self.means.argmin())
        known = self.paired.known[best].copy()  # of the best: whether there are enough images
        known[best] &= not wins[~known].any()
        return np.where(known, wins / len(self.replicates), np.nan)

    @property
    def _comparisons(self) -> int:
        return max(1, len(self.means) - 1)

    @cached_property
    def _alone(self) -> tuple[Floats, Floats]:
        return self.paired.interval(1 - CONFIDENCE)

    @cached_property
    def _corrected(self) -> tuple[Floats, Floats]:
        return self.paired.interval((1 - CONFIDENCE) / self._comparisons)

    @cached_property
    def _p_values(self) -> Floats:
        return self.paired.p_values()

    @cached_property
    def replicates(self) -> Floats:
        """[R, n] The means if images and seeds are drawn again."""
        draws = np.random.default_rng(0)
        by_image = _images_again(self.centred, self.count, draws)
        return self.means + by_image + _seeds_again(self.seeds, self.count, draws)


def compare(
    scores: Sequence[Floats], families: Sequence[str], replicates: int = REPLICATES, by_image: bool = True
) -> Comparisons:
    """Compare n settings on the same images.

    Args:
        scores: nats per image of each setting, [S, N]. S may differ between settings; the images may not.
        families: the likelihood of each setting: settings of one family share the spread of their seeds.
        replicates: R.
        by_image: False, the scores are one number for each seed, [S, 1], and nothing is known of images.
    """
    values = np.stack([setting.mean(0) for setting in scores])  # [n, N]
    means = values.mean(1)
    least = rounding(means)
    counts = [len(setting) for setting in scores]
    squares = np.array([((setting.mean(1) - setting.mean()) ** 2).sum() for setting in scores])
    seeds = seed_spread(squares, counts, families)
    own, pairs = of_images(values, least), _pairs(values, least)
    if not by_image:
        own, pairs = (part._replace(known=np.ones_like(part.known)) for part in (own, pairs))
    return Comparisons(
        means=means,
        own_errors=np.where(own.known, np.sqrt(own.variance + seeds.variance), np.nan),
        paired=differences(means[:, None] - means, pairs, seeds.across(), seeds, least),
        centred=values - means[:, None],
        seeds=seeds,
        uneven=uneven(scores, families),
        count=replicates,
    )


def _pairs(values: Floats, least: float) -> ImagePart:
    """Return what the differences of n settings [n, N] owe to the images, [n, n]."""
    rows = [of_images(own - values, least) for own in values]
    return ImagePart(
        variance=np.stack([row.variance for row in rows]),
        skewness=np.stack([row.skewness for row in rows]),
        carrying=np.stack([row.carrying for row in rows]),
        known=np.stack([row.known for row in rows]),
    )


def _images_again(centred: Floats, replicates: int, draws: np.random.Generator) -> Floats:
    """Return by how much the means of n settings [n, N] change when N images are drawn again, [R, n]."""
    images = centred.shape[1]
    held = max(1, _HELD // images)
    sizes = [min(held, replicates - start) for start in range(0, replicates, held)]
    even = np.full(images, 1 / images)
    return np.concatenate([draws.multinomial(images, even, size) @ centred.T / images for size in sizes])


def _seeds_again(seeds: SeedSpread, replicates: int, draws: np.random.Generator) -> Floats:
    """Return by how much other seeds would change the means, [R, n]: Student t, with one scale a family."""
    normal = draws.standard_normal((replicates, len(seeds.variance)))
    if np.isinf(seeds.degrees).all():
        return np.zeros_like(normal)
    of_family = np.ones(seeds.family.max() + 1)
    of_family[seeds.family] = seeds.degrees
    scale = draws.chisquare(of_family, (replicates, len(of_family))) / of_family
    return normal * np.sqrt(seeds.variance / scale[:, seeds.family])
