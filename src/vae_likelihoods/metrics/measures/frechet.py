"""The Fréchet distance between two sets of points, each described by a Gaussian (Heusel et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(left: Tensor, right: Tensor) -> float:
    """Return |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of the means and covariances of two sets of points.

    The trace of the root is that of (A C' A)^(1/2) with A = C^(1/2), which is symmetric. So there is no
    complex root, and covariances may be singular. As is usual, it is the squared distance of Dowson & Landau
    (1982).

    Args:
        left: points [N, F], N > 1.
        right: points [M, F], M > 1.
    """
    (mean, covariance), (other_mean, other_covariance) = _moments(left), _moments(right)
    root = _root(covariance)
    middle = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum()
    spread = covariance.trace() + other_covariance.trace() - 2 * middle
    # Equal sets give a difference of equal numbers.
    return float(((mean - other_mean).square().sum() + spread).clamp_min(0))


def _moments(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [F] and the unbiased covariance [F, F] of points [N, F]."""
    mean = points.double().mean(0)
    centred = points.double() - mean
    return mean, centred.T @ centred / (len(points) - 1)


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric root of a covariance [F, F]."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
