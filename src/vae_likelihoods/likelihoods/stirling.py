"""The remainders of Stirling's formula as short series, from which differences of log-gammas are made.

Two forms: J(y) = lgamma(y + 1/2) - (y log y - y) - log sqrt(2 pi), and Binet's mu(y) = lgamma(y) -
(y - 1/2) log y + y - log sqrt(2 pi). Both are small, so a difference of large log-gammas keeps its digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Coefficients(NamedTuple):
    """Coefficients of the power series in 1 / y^2 of y f(y), and of y^2 f'(y)."""

    value: tuple[float, ...]
    slope: tuple[float, ...]


# Fitted to values of 40 digits. J for y >= 3/2: error 4e-7, and 4e-6 of (y - 3/2) J'; mu for y >= 3: 4e-7.
STIRLING_HALF = Coefficients((-0.0416658851, 0.00239636525, -0.000527099742), (0.0416141191, -0.00628235836))
BINET = Coefficients((0.0833322191, -0.00269565488), (-0.0833322191, 0.00808696464))


class OddSeries(NamedTuple):
    """Adds sum_i coefficients[i] y^-(2i+1) to a tensor, working in three tensors that are overwritten."""

    inverse: Tensor
    square: Tensor
    value: Tensor

    def add(
        self, coefficients: Coefficients, y: Tensor, alpha: float, to: Tensor, slope_to: Tensor | None
    ) -> None:
        """Add alpha times the series at y to `to`, and alpha times its derivative to `slope_to`."""
        torch.reciprocal(y, out=self.inverse)
        torch.mul(self.inverse, self.inverse, out=self.square)
        leading = self._monic(coefficients.value)
        to.addcmul_(self.value, self.inverse, value=alpha * leading)
        if slope_to is not None:
            leading = self._monic(coefficients.slope)
            slope_to.addcmul_(self.value, self.square, value=alpha * leading)

    def _monic(self, coefficients: Sequence[float]) -> float:
        """Put the polynomial over its leading coefficient into `value`; return that coefficient."""
        *lower, leading = coefficients
        if len(lower) == 1:
            torch.add(self.square, lower[0] / leading, out=self.value)
        else:  # x^2 + p x + q = (x + p/2)^2 + q - p^2/4
            half = lower[1] / leading / 2
            torch.add(self.square, half, out=self.value).square_().add_(lower[0] / leading - half * half)
        return leading
