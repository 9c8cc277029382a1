"""The effect of other seeds on a mean: how large it is, how well that is known, and whether it looks normal.

s^2, the variance between seeds, is pooled over the settings of a family (the latent sizes of a likelihood),
which together have d = sum (S - 1) degrees of freedom. Families are not pooled: some vary a hundred times
more than others. A family with no second seed takes the largest s^2 of all others, with its d. A model that
does not depend on the seed has s^2 = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

_ROUNDING = 2e-8  # of a score, which may have been rounded to float32
_FALSE_ALARMS = 0.05  # of studies whose seeds are normal, that `uneven` names a setting in


def rounding(scores: Floats) -> float:
    """Return the difference of two such scores up to which they count as equal."""
    return _ROUNDING * (1 + float(np.abs(scores).max()))


class SeedSpread(NamedTuple):
    """The effect of other seeds on settings; all [..., n]."""

    variance: Floats  # of the mean over a setting's seeds
    degrees: Floats  # degrees of freedom of the estimate; infinite if no setting has a second seed
    family: NDArray[np.intp]  # settings with the same number share the estimate

    def of(self, settings: slice | list[int] | NDArray[np.intp]) -> SeedSpread:
        """Return that of some settings."""
        return SeedSpread(
            self.variance[..., settings], self.degrees[..., settings], self.family[..., settings]
        )

    def across(self) -> SeedSpread:
        """Return it with a new last axis, to be compared with others along that."""
        return SeedSpread(self.variance[..., None], self.degrees[..., None], self.family[..., None])


def seed_spread(squares: Floats, seeds: Sequence[int], families: Sequence[str]) -> SeedSpread:
    """Return the spread of seeds of n settings, by family.

    If no setting has two seeds, the spread is 0. Then all results are about these trained models alone.

    Args:
        squares: sum over a setting's seeds of the squared deviations from their mean, [..., n].
        seeds: S of each setting.
        families: the likelihood of each setting.
    """
    names = sorted(set(families))
    family, counts = np.array([names.index(name) for name in families]), np.array(seeds)
    degrees = np.bincount(family, counts - 1, len(names)).astype(np.float64)
    if not degrees.any():
        nothing = np.zeros_like(squares)
        return SeedSpread(nothing, nothing + np.inf, np.broadcast_to(family, squares.shape))
    of_family = squares @ np.eye(len(names))[family] / np.maximum(degrees, 1)  # s^2, [..., families]
    known = np.where(degrees > 0, of_family, -1)
    source = np.where(degrees > 0, np.arange(len(names)), known.argmax(-1)[..., None])
    share = source[..., family]
    return SeedSpread(np.take_along_axis(of_family, share, -1) / counts, degrees[share], share)


def uneven(scores: Sequence[Floats], families: Sequence[str]) -> list[int]:
    """Return the settings with a seed that lies too far from its mean for normal effects, as far as seen.

    Seeds of which some collapse have two modes. Each deviation is compared with the spread of the others of
    its family: an outlier test by externally studentised residuals, corrected for all cells of the study
    (Cook and Weisberg 1982, Residuals and Influence in Regression, section 2.2). With d degrees of freedom it
    has d - 1, so a family with fewer than two is not judged, and with few seeds little is seen.

    Args:
        scores: of each seed of n settings, [S, ...]; the mean over all but the first axis counts.
        families: the likelihood of each setting.
    """
    by_seed = [setting.reshape(len(setting), -1).mean(1) for setting in scores]
    residuals = [values - values.mean() for values in by_seed]
    cells, found, least = sum(map(len, by_seed)), [], rounding(np.concatenate(by_seed))
    for place, own in enumerate(residuals):
        family = [each for each, name in zip(residuals, families, strict=True) if name == families[place]]
        degrees, squares = sum(len(each) - 1 for each in family), sum(float(each @ each) for each in family)
        if len(own) < 2 or degrees < 2 or squares <= degrees * least**2:
            continue
        share = (own**2).max() * len(own) / (len(own) - 1) / squares  # of s^2 d that this seed makes up
        t = np.sqrt((degrees - 1) * share / max(1 - share, 1e-12))
        if 2 * special.stdtr(degrees - 1, -t) * cells < _FALSE_ALARMS:
            found.append(place)
    return found
