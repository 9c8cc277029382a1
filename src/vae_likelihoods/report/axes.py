"""Axes: where they end, where their ticks stand, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression


def domain_of(values: pd.Series, log: bool) -> list[float]:
    """Return the ends of an axis: the data with a margin, at least a hundredth of the largest value wide."""
    low, high = float(values.min()), float(values.max())
    if log:
        return [low / 1.15, high * 1.15]
    margin = max(0.06 * (high - low), 0.005 * abs(high), 1e-6)
    return [low - margin, high + margin]


def scale(domain: Sequence[float], log: bool) -> alt.Scale:
    """Return a scale that ends exactly at `domain`."""
    kind: dict[str, Any] = {"type": "log"} if log else {"type": "linear", "zero": False}
    return alt.Scale(domain=list(domain), nice=False, **kind)


def ticks(domain: Sequence[float], log: bool, grid: bool = True) -> alt.Axis:
    """Return about five ticks; on a logarithmic axis 1, 2, 5 times powers of ten, or all multiples."""
    if not log:
        return alt.Axis(tickCount=5, grid=grid)
    powers = range(math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1])))
    every = [float(f"{m}e{p}") for p in powers for m in range(1, 10)]
    inside = [value for value in every if domain[0] * 1.03 <= value <= domain[1] / 1.03]
    few = [value for value in inside if f"{value:e}"[0] in "125"]
    return alt.Axis(values=few if len(few) > 2 else inside, format=",~r", grid=grid)


def latent_axis(sizes: pd.Series, left: float = 0.0) -> alt.X:
    """Return the axis of latent sizes: logarithmic, a tick at each size.

    Args:
        sizes: at least 1.
        left: the share of the width that stays free before the smallest size, or a little if that is more.
    """
    values = sorted({int(size) for size in sizes})
    room = max(1.25, (1.25 * values[-1] / values[0]) ** (left / (1 - left)))
    ends = alt.Scale(type="log", base=2, domain=[values[0] / room, values[-1] * 1.25], nice=False)
    axis = alt.Axis(values=values, format="d", grid=False, labelFlush=False)
    return alt.X("latent_dim:Q", title="latent size", scale=ends, axis=axis)


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending `places` in [0, 1] so that neighbours are `gap` apart and none is below gap / 2.

    The sum of squared moves is the smallest possible (isotonic regression).

    Example:
        >>> [round(place, 3) for place in spread_apart([0.5, 0.5, 0.9], gap=0.1)]
        [0.45, 0.55, 0.9]
    """
    steps = gap * np.arange(len(places))
    apart = isotonic_regression(np.asarray(places) - steps).x + steps
    return [float(place) for place in np.maximum(apart, steps + gap / 2)]  # clear of the axis


def round_step(step: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return max(power * m for m in (1, 2, 5) if power * m <= step * (1 + 1e-9))
