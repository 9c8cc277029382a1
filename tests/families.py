"""The Gaussian likelihoods, which tests of many rooms need."""

from __future__ import annotations

from vae_likelihoods.likelihoods.base import TrainedOn
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.location_scale import LocationScale


def gaussian(
    levels: int, channels: int, scale: float = 1.0, trained_on: TrainedOn = "density"
) -> LocationScale:
    """Return a Gaussian of one fixed sigma."""
    return LocationScale(levels, channels, Normal(), scale, learned=False, trained_on=trained_on)


def learned_gaussian(
    levels: int,
    channels: int,
    scale: float = 0.3,
    min_scale: float = 0.25,
    per_pixel: bool = False,
    trained_on: TrainedOn = "density",
) -> LocationScale:
    """Return a Gaussian whose sigma is learned."""
    return LocationScale(
        levels, channels, Normal(), scale, min_scale, per_pixel=per_pixel, trained_on=trained_on
    )
