"""Families that are a standard law with a location and a scale: mu + s u."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import DensityLikelihood, TrainedOn
from vae_likelihoods.likelihoods.bins import LogBinMass, level_bins
from vae_likelihoods.likelihoods.laws.base import FAR, Law
from vae_likelihoods.likelihoods.pointwise import pointwise
from vae_likelihoods.likelihoods.scales import scale_source


class ScaledLikelihood(DensityLikelihood):
    """A density of x that is made of mu + s u, u from a standard law: what all such families share.

    mu is the first output of the decoder; s is fixed, learned for all pixels, or the second output.

    Args:
        levels: K.
        channels: C.
        law: the law of u.
        scale: s, or where its training starts, in units of the [0, 1] range.
        min_scale: lower bound of a learned s, in bins of width 1/K.
        learned: False, s is fixed.
        per_pixel: False, one s; True, a second output a pixel.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: law is not a `Law`, min_scale is not positive, scale is not above it, or a fixed scale
            has settings of a learned one.
    """

    def __init__(
        self,
        levels: int,
        channels: int,
        law: Law,
        scale: float,
        min_scale: float | None = None,
        learned: bool = True,
        per_pixel: bool = False,
        trained_on: TrainedOn = "mass",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        self.law = checked_law(law)
        self.scale = scale_source(scale, min_scale, learned, per_pixel, levels)
        self.outputs_per_channel = 1 + self.scale.outputs
        self._add_tables()

    def _add_tables(self) -> None:
        """Register what a family looks up for each level; nothing here."""

    def _mean_and_scale(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, *raw = outputs.unbind(-4)
        return mean, self.scale.of(raw)

    def _shared(self) -> Tensor | None:
        """Return the scale if all pixels share it."""
        return None if self.scale.outputs else self.scale.of(())

    def summary(self) -> dict[str, float]:
        """Return the learned scale, if all pixels share one."""
        return self.scale.summary()


class LocationScale(ScaledLikelihood):
    """x = mu + s u on the line, with the tails in the end bins."""

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self.law.log_density(((x - mu) / s).clamp(-FAR, FAR)) - s.log()

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        formula = LogBinMass(self.law, level_bins(self.levels), self.scale)
        return pointwise(formula, outputs, k, self._shared())

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self.law.upper_tail(((edge - mu) / s).clamp(-FAR, FAR))

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        mu, s = self._mean_and_scale(outputs)
        return self._levels_of(mu + s * self.law.draw(mu, generator))


def checked_law(law: Any) -> Law:
    """Return `law`.

    Raises:
        SettingError: it is not a `Law`.
    """
    require(isinstance(law, Law), "law", law, "must be a law, named by _target_ in a section of its own")
    checked: Law = law
    return checked
