"""The scale of a family: fixed, learned for all pixels, or an output of the decoder."""

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
    """The source of the scale of every pixel, in units of the [0, 1] range.

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

    def summary(self) -> dict[str, float]:
        """Return the learned scale that all pixels share; empty if there is none."""
        return {}


class FixedScale(Scale):
    """A constant.

    Args:
        scale: the constant.

    Raises:
        SettingError: scale is not a positive number in range.
    """

    value: Tensor

    def __init__(self, scale: Any) -> None:
        super().__init__()
        require(_LEAST <= number(scale) <= _MOST, "scale", scale, _RANGE)
        self.register_buffer("value", torch.tensor(float(scale)), persistent=False)

    def of(self, raw: Sequence[Tensor]) -> Tensor:
        """Return the constant, 0-dimensional."""
        return self.value


class SharedScale(Scale):
    """floor + exp(s), one learned s for all pixels.

    A density whose scale is free has no maximum, because pixels that never change can be fitted exactly; so
    the scale cannot fall below a fraction of a bin.

    Args:
        scale: where training starts.
        min_scale: the floor, in bins of width 1/K.
        levels: K.

    Raises:
        SettingError: min_scale is not positive, or scale is not above it.
    """

    def __init__(self, scale: Any, min_scale: Any, levels: int) -> None:
        super().__init__()
        self.floor = floor_of(scale, min_scale, levels)
        self.log_excess = nn.Parameter(torch.tensor(math.log(scale - self.floor)))

    def of(self, raw: Sequence[Tensor]) -> Tensor:
        """Return the learned scale, 0-dimensional, differentiable."""
        return self.floor + self.log_excess.exp()

    def summary(self) -> dict[str, float]:
        """Return the learned scale."""
        return {"scale": self.of(()).item()}


class PixelScale(Scale):
    """floor + (start - floor) exp(h tanh(raw / h)), raw an output of the decoder and h = log 1e4.

    Takes the arguments of `SharedScale`; the scale is where outputs are 0.
    """

    outputs = 1
    _BOUND = math.log(1e4)

    def __init__(self, scale: Any, min_scale: Any, levels: int) -> None:
        super().__init__()
        self.floor = floor_of(scale, min_scale, levels)
        self.log_excess = math.log(scale - self.floor)

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


def floor_of(scale: Any, min_scale: Any, levels: int) -> float:
    """Return the floor of a learned scale in units of the range, after refusing impossible settings."""
    bins = f"need a positive part of a bin, at least {_LEAST * levels:g}"
    require(_LEAST * levels <= number(min_scale) < math.inf, "min_scale", min_scale, bins)
    floor: float = min_scale / levels
    require(_LEAST <= number(scale) <= _MOST, "scale", scale, _RANGE)
    require(scale > floor, "scale", scale, f"must be above min_scale / K = {floor:.4g}")
    return floor


def scale_source(scale: Any, min_scale: Any, learned: Any, per_pixel: Any, levels: int) -> Scale:
    """Return the `Scale` that these settings of a family describe.

    Raises:
        SettingError: a setting is impossible, or contradicts another one.
    """
    switches, choices = {"learned": learned, "per_pixel": per_pixel}, [True, False]
    for key, value in switches.items():
        require(type(value) is bool, key, value, "must be one of the choices", choices)
    if learned:
        return (PixelScale if per_pixel else SharedScale)(scale, min_scale, levels)
    require(not per_pixel, "per_pixel", per_pixel, "a fixed scale (learned=False) is the same for all pixels")
    require(min_scale is None, "min_scale", min_scale, "a fixed scale (learned=False) has no lower bound")
    return FixedScale(scale)
