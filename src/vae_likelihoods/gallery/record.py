"""The content of a row of the gallery."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """One number, computed in the right way and in the wrong way."""

    measured: str  # what the numbers are, with their unit
    right: float
    wrong: float
    damage: float
    unit: str  # of the damage


@dataclass(frozen=True)
class GalleryRow:
    """One error: what people write, what is right, and numbers that show the damage."""

    written: str
    right: str
    findings: tuple[Cost, ...]


def difference(measured: str, right: float, wrong: float, unit: str) -> Cost:
    """Return a finding whose damage is |wrong - right|."""
    return Cost(measured, right, wrong, abs(wrong - right), unit)


def factor(measured: str, right: float, wrong: float) -> Cost:
    """Return a finding whose damage is wrong / right."""
    return Cost(measured, right, wrong, wrong / right, "times")
