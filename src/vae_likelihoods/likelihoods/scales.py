"""Where the scale of a family comes from: fixed, learned for all pixels, or an output of the decoder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import number
from vae_likelihoods.likelihoods.numerics import bounded, bounded_with_slope

# Products of numbers beyond these would overflow; a bin is never narrower than 1/256.
_LEAST, _MOST = 1e-8, 1e8
_RANGE = f"need a positive number, {_LEAST:g} .. {_MOST:g} of the [0, 1] range"


class Scale(nn.Module, ABC):
    """Where the scale of a pixel comes from, in units of the [0, 1] range.

    Attributes:
        outputs: how many numbers of the decoder it takes for each pixel and channel.
    """

    outputs: int = 0

    @abstractmethod
    def of(self, raw: Sequence[Tensor]) -> Tensor:
        """Return the scale, given the decoder's numbers for it: 0-dimensional, or one a pixel."""

    def with_slope(self, raw: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the scale of each pixel and its derivative by the decoder's number; not differentiable."""
        raise TypeError(f"{type(self).__name__} takes no number from the decoder")

    def summary(self, name: str) -> dict[str, float]:
        """Return what all pixels share and was learned, under `name`; empty if there is no such number."""
        return {}


class FixedScale(Scale):
    """A constant."""

    value: Tensor

    def __init__(self, key: str, value: Any) -> None:
        super().__init__()
        require(_LEAST <= number(value) <= _MOST, key, value, _RANGE)
        self.register_buffer("value", torch.tensor(float(value)), persistent=False)

    def of(self, raw: Sequence[Tensor]) -> Tensor:
        """Return the constant, 0-dimensional."""
        return self.value


class SharedScale(Scale):
    """floor + exp(s), one s for all pixels, learned.

    A density whose scale is free is unbounded above, because pixels that never change can be fitted
    exactly; so the scale stops at a fraction of a bin.

    Args:
        key: the name of the setting that says where training starts.
        value: that start.
        least: the floor, in bins of width 1/K; set by ``min_<key>``.
        levels: K.
    """

    def __init__(self, key: str, value: Any, least: Any, levels: int) -> None:
        super().__init__()
        self.floor = floor_of(key, value, least, levels)
        self.log_excess = nn.Parameter(torch.tensor(math.log(value - self.floor)))

    def of(self, raw: Sequence[Tensor]) -> Tensor:
        """Return the learned scale, 0-dimensional, differentiable."""
        return self.floor + self.log_excess.exp()

    def summary(self, name: str) -> dict[str, float]:
        """Return the learned scale."""
        return {name: self.of(()).item()}


class PixelScale(Scale):
    """floor + (start - floor) exp(h tanh(raw / h)), raw an output of the decoder and h = log 1e4.

    Takes the arguments of `SharedScale`.
    """

    outputs = 1
    _BOUND = math.log(1e4)

    def __init__(self, key: str, value: Any, least: Any, levels: int) -> None:
        super().__init__()
        self.floor = floor_of(key, value, least, levels)
        self.log_excess = math.log(value - self.floor)

    def of(self, raw: Sequence[Tensor]) -> Tensor:
        """Return the scale of each pixel."""
        (output,) = raw
        return self.floor + (self.log_excess + bounded(output, self._BOUND)).exp()

    def with_slope(self, raw: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the scale and (scale - floor) (1 - tanh(raw / h)^2)."""
        (output,) = raw
        exponent, slope = bounded_with_slope(output, self._BOUND)
        excess = exponent.add_(self.log_excess).exp_()
        return excess + self.floor, slope.mul_(excess)


def floor_of(key: str, value: Any, least: Any, levels: int) -> float:
    """Return the floor of a learned scale in units of the range, after refusing impossible settings."""
    bins = f"need a positive part of a bin, at least {_LEAST * levels:g}"
    require(_LEAST * levels <= number(least) < math.inf, f"min_{key}", least, bins)
    floor: float = least / levels
    require(_LEAST <= number(value) <= _MOST, key, value, _RANGE)
    require(value > floor, key, value, f"must be above min_{key} / K = {floor:.4g}")
    return floor


def learned_scale(per_pixel: Any, key: str, value: Any, least: Any, levels: int) -> Scale:
    """Return a `PixelScale` or a `SharedScale`, as the setting ``per_pixel`` says."""
    choices = [True, False]
    require(
        type(per_pixel) is bool,
        "per_pixel",
        per_pixel,
        "must say whether the scale is an output",
        choices,
    )
    return (PixelScale if per_pixel else SharedScale)(key, value, least, levels)
