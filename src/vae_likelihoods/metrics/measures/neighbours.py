"""Two sets of points compared by nearest neighbours: are they alike, and is one copied from the other?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 1 << 24  # distances held at once


class Likeness(NamedTuple):
    """How similar generated points are to real ones; 1 is perfect, but the density can be above 1.

    A point has a ball around it that reaches to the k-th nearest other point of its own set.
    """

    precision: float  # share of generated points in the ball of a real one (Kynkäänniemi et al. 2019)
    recall: float  # share of real points in the ball of a generated one (the same)
    density: float  # balls of real points that a generated one lies in, mean, over k (Naeem et al. 2020)
    coverage: float  # share of balls of real points with a generated one inside (the same)


def likeness(real: Tensor, generated: Tensor, neighbours: int) -> Likeness:
    """Compare points [N, F] and [M, F]; `neighbours` is k, or the largest k that the smaller set allows."""
    k = min(neighbours, len(real) - 1, len(generated) - 1)
    between = distances(real, generated)  # [N, M]
    in_real = between <= radii(real, k)[:, None]
    in_generated = between <= radii(generated, k)
    return Likeness(
        precision=float(in_real.any(0).double().mean()),
        recall=float(in_generated.any(1).double().mean()),
        density=float(in_real.sum(0).double().mean() / k),
        coverage=float(in_real.any(1).double().mean()),
    )


def radii(points: Tensor, k: int) -> Tensor:
    """Return the distance of every point of [N, F] to its k-th nearest other one, [N]."""
    return distances(points, points).kthvalue(k + 1).values  # the nearest one is itself


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Return the Euclidean distances [N, M] between points [N, F] and [M, F]; of equal points exactly 0."""
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(points: Tensor, others: Tensor) -> Tensor:
    """Return the distance of every point of [N, F] to the nearest of the others [M, F], [N]."""
    parts = points.split(max(1, LARGEST // len(others)))
    return torch.cat([distances(part, others).amin(1) for part in parts])
