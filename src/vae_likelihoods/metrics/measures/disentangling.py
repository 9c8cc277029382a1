"""Whether each latent stands for one factor of variation: MIG and DCI of codes, for known factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score

Codes = NDArray[np.float64]
Factors = NDArray[np.int64]


def mutual_information_gap(codes: Codes, factors: Factors, bins: int = 20) -> float:
    """Return the MIG (Chen et al. 2018, arXiv:1802.04942, section 4), between 0 and 1.

    For each factor: the mutual information with the best code minus that with the second best, over the
    factor's entropy; then the mean over factors. Codes are cut into bins of equal width (Locatello et al.
    2019). A factor that does not vary is left out.

    Args:
        codes: [N, L]; with L = 1 the second best code has no information.
        factors: integers [N, F].
        bins: the number of bins of a code.

    Raises:
        ValueError: no factor varies.
    """
    cut = np.stack([np.digitize(code, np.histogram_bin_edges(code, bins)[:-1]) for code in codes.T])
    gaps = []
    for factor in factors.T:
        whole = mutual_info_score(factor, factor)  # its entropy
        if whole > 0:
            *_, second, best = sorted([0.0, *(mutual_info_score(factor, code) for code in cut)])
            gaps.append((best - second) / whole)
    if not gaps:
        raise ValueError("no factor varies")
    return float(np.mean(gaps))


class Dci(NamedTuple):
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018); 1 is perfect."""

    disentanglement: float  # does each code matter for one factor only?
    completeness: float  # does one code only matter for each factor?
    informativeness: float  # mean accuracy of predicting the factors


def dci(train: tuple[Codes, Factors], test: tuple[Codes, Factors], trees: int = 50) -> Dci:
    """Fit a random forest for each factor on train, and score it on test; codes [N, L], factors [N, F].

    Importances are those of the forests. Their trees choose among all codes at every split: a choice among
    some codes would give importance to codes without information. Their seed is fixed.
    """
    importances, accuracies = [], []
    for values, answers in zip(train[1].T, test[1].T, strict=True):
        forest = RandomForestClassifier(trees, max_features=None, random_state=0).fit(train[0], values)
        importances.append(forest.feature_importances_)
        accuracies.append(forest.score(test[0], answers))
    matrix = np.stack(importances, 1)  # [L, F]
    return Dci(disentanglement(matrix), completeness(matrix), float(np.mean(accuracies)))


def disentanglement(importances: Codes) -> float:
    """Return sum_l w_l (1 - H_F(l)) of importances [L, F]: entropy over factors, weighed by importance."""
    return _concentration(importances)


def completeness(importances: Codes) -> float:
    """Return sum_f w_f (1 - H_L(f)) of importances [L, F]: entropy over codes, weighed by importance."""
    return _concentration(importances.T)


def _concentration(importances: Codes) -> float:
    """Return 1 minus the entropy of each row, relative to the uniform one, weighed by the row's sum."""
    columns = importances.shape[1]
    if columns == 1:
        return 1.0
    used = importances[importances.sum(1) > 0]
    if not len(used):
        return 0.0
    return float(np.average(1 - entropy(used, base=columns, axis=1), weights=used.sum(1)))
