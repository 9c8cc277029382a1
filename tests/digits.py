"""Comparisons with numbers of 50 digits."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import torch


def assert_near(
    actual: torch.Tensor, expected: np.ndarray, rtol: float | np.ndarray, atol: float | np.ndarray = 0.0
) -> None:
    """Like numpy's `assert_allclose`, which takes a single rtol and a single atol."""
    error = np.abs(actual.detach().double().numpy() - expected)
    np.testing.assert_array_less(error, atol + rtol * np.abs(expected) + 1e-300)


def exact(function: Callable[..., mpmath.mpf], x: torch.Tensor) -> np.ndarray:
    """Return `function` at the values of `x`, computed in 50 digits."""
    with mpmath.workdps(50):
        return np.array([float(function(mpmath.mpf(value))) for value in x.tolist()])
