"""Whether each latent stands for one factor of variation: MIG and DCI of codes and known factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score

Codes = NDArray[np.float64]
Factors = NDArray[np.int64]


def mutual_information_gap(codes: Codes, factors: Factors, bins: int = 20) -> float:
    """Return the MIG (Chen et al. 2018, arXiv:1802.04942, section 4), between 0 and 1.

    For each factor, how much more the code that knows most of it says than the next one, over the factor's
    entropy; the mean over factors. Codes are cut into bins of equal width (Locatello et al. 2019). A factor
    that does not vary is left out.

    Args:
        codes: [N, L]; with L = 1 the next code says nothing.
        factors: integers [N, F].
        bins: into which each code is cut.

    Raises:
        ValueError: no factor varies.
    """
    cut = np.stack([np.digitize(code, np.histogram_bin_edges(code, bins)[:-1]) for code in codes.T])
    gaps = []
    for factor in factors.T:
        entropy = mutual_info_score(factor, factor)
        if entropy > 0:
            told = sorted([0.0, *(mutual_info_score(factor, code) for code in cut)])
            gaps.append((told[-1] - told[-2]) / entropy)
    if not gaps:
        raise ValueError("no factor varies")
    return float(np.mean(gaps))


class Dci(NamedTuple):
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018), 1 is perfect."""

    disentanglement: float  # does each code matter for one factor only?
    completeness: float  # does one code only matter for each factor?
    informativeness: float  # accuracy of predicting the factors, mean


def dci(train: tuple[Codes, Factors], test: tuple[Codes, Factors], trees: int = 50) -> Dci:
    """Fit a random forest a factor on train, and score it on test; codes [N, L] and factors [N, F].

    Importances are those of the forests, whose trees choose among all codes at every split: a choice among
    some would lend importance to codes that know nothing. Their seed is fixed.
    """
    importances, right = [], []
    for known, asked in zip(train[1].T, test[1].T, strict=True):
        forest = RandomForestClassifier(trees, max_features=None, random_state=0).fit(train[0], known)
        importances.append(forest.feature_importances_)
        right.append(forest.score(test[0], asked))
    matrix = np.stack(importances, 1)  # [L, F]
    return Dci(disentanglement(matrix), completeness(matrix), float(np.mean(right)))


def disentanglement(importances: Codes) -> float:
    """Return sum_l w_l (1 - H_F(l)) of importances [L, F]: entropy over factors, weighed by importance."""
    return _concentration(importances)


def completeness(importances: Codes) -> float:
    """Return sum_f w_f (1 - H_L(f)) of importances [L, F]: entropy over codes, weighed by importance."""
    return _concentration(importances.T)


def _concentration(importances: Codes) -> float:
    """Return 1 minus the entropy of each row, relative to the uniform one, weighed by the row's sum."""
    rows, columns = importances.shape
    if columns == 1:
        return 1.0
    sums = importances.sum(1)
    shares = importances / np.where(sums > 0, sums, 1)[:, None]
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1) / np.log(columns)
    weights = sums / sums.sum() if sums.sum() > 0 else np.zeros(rows)
    return float((weights * (1 - entropies)).sum())
