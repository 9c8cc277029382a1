"""The contract of every likelihood: a pmf over the K levels of a pixel, given the outputs of a decoder.

An image is an array of integer levels k in 0 .. K-1. Continuous families live on [0, 1], where level k is
the bin [k/K, (k+1)/K], and the end bins also hold what lies outside [0, 1]; the probability of a level is
the mass of its bin. So all likelihoods are scored on one scale, whatever they were trained on.

A new family is one file with one class, and one YAML that names the class. A pmf defines `_log_mass`; its
`mean` and `sample` follow, and can be replaced by closed forms. A density defines `_log_density` and
`_exceedance` too. A family with a location and a scale needs no class of its own: it is a `laws.base.Law`
in a `location_scale.LocationScale` or a `mixture.Mixture`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.likelihoods.tensors import uniform_like, wide

SEARCH = "_search_"
"""In the YAML of a likelihood: which of its settings tuning may vary, and how; see `search.space`."""

TrainedOn = Literal["density", "mass"]
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class UnsupportedLevels(SettingError):  # noqa: N818 - reads as what is wrong
    """This likelihood cannot model images with this number of levels."""


class Likelihood(nn.Module, ABC):
    """A pmf over levels for each pixel: log p(k | z) = sum_d log P(k_d | outputs_d), in nats per image.

    Args:
        levels: K, how many levels a pixel can have, 2 .. 256.
        channels: C, colour channels of an image.

    Attributes:
        outputs_per_channel: P, the numbers that a decoder must give for each pixel and channel.
        channels_factorise: whether channels are independent given the outputs, as pixels always are.
        trained_on: whether `log_prob` is a density (in nats, can be positive) or the mass itself.

    Decoder outputs are [..., B, P*C, H, W] with P slowest, levels [B, C, H, W]; dimensions before B
    (importance samples, say) are broadcast. All is computed in float32 under any autocast, and in float64
    if the outputs are float64. Levels must be integers 0 .. K-1: images of floats are refused, but that no
    level is out of range is checked once a data set, by `datasets.levels.require_levels`, and not here.

    Raises:
        SettingError: levels or channels are out of range.
        UnsupportedLevels: the family cannot model this K.
    """

    outputs_per_channel: int = 1
    channels_factorise: bool = True
    trained_on: TrainedOn = "mass"

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        require(isinstance(levels, int) and 2 <= levels <= 256, "levels", levels, "need 2 .. 256 levels")
        require(isinstance(channels, int) and channels >= 1, "channels", channels, "need at least one")
        self.levels, self.channels = levels, channels

    @property
    def output_channels(self) -> int:
        """The channels that a decoder must give for an image: P*C."""
        return self.outputs_per_channel * self.channels

    @abstractmethod
    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        """Return log P(k) of each pixel, [..., B, C, H, W].

        Args:
            outputs: float32 [..., B, P, C, H, W]; `outputs.unbind(-4)` gives the P parameters.
            k: integer levels, broadcastable to [..., B, C, H, W].
        """

    def pixel_log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        """Return log P(k_d) of each pixel and channel, [..., B, C, H, W] in nats.

        Where channels depend on each other it is that of each pixel, [..., B, 1, H, W].
        """
        return self._log_mass(self._parameters_for(outputs, k), k)

    def log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        """Return the log-probability of the images `k`, [..., B] in nats: at most 0, on one scale for all."""
        # A mass near 1 may round to more than 1, by less than 1e-6 a pixel.
        return _per_image(self.pixel_log_mass(outputs, k)).clamp_max(0)

    def log_prob(self, outputs: Tensor, k: Tensor) -> Tensor:
        """Return what training maximises, [..., B] in nats; `trained_on` says what it is."""
        return self.log_mass(outputs, k)

    def log_pmf(self, outputs: Tensor) -> Tensor:
        """Return log P(k) of every level, [..., K, C, H, W]; for channels that factorise."""
        k = torch.arange(self.levels, device=outputs.device).view(-1, 1, 1, 1)
        return self.pixel_log_mass(outputs.unsqueeze(-4), k)

    def outputs_of(self, shares: Tensor) -> Tensor | None:
        """Return the outputs [..., P*C, H, W] with the largest expected log-mass; None: no closed form.

        They are finite, and so is the log-mass of every level.

        Args:
            shares: the pmfs that it is expected under, one a pixel and channel, [..., K, C, H, W].
        """
        return None

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1) under the pmf, [..., B, C, H, W] in [0, 1]."""
        parameters = self._parameters_of(outputs)
        expected = torch.zeros_like(parameters[..., 0, :, :, :])
        for level in range(1, self.levels):  # a loop: all K levels at once would take K times the memory
            expected += level * self._mass(parameters, level)
        return (expected / (self.levels - 1)).clamp(0, 1)

    @torch.no_grad()
    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 levels [..., B, C, H, W] from the pmf; `generator` is on the outputs' device."""
        return self._sample(self._parameters_of(outputs), generator).to(torch.uint8)

    def summary(self) -> dict[str, float]:
        """Return the learned parameters that all pixels share, by name, for logs."""
        return {}

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw levels by inverting the cdf: count the levels whose cumulative mass is below a uniform."""
        cdf = torch.zeros_like(outputs[..., 0, :, :, :])
        uniform, k = uniform_like(cdf, generator), torch.zeros_like(cdf)
        for level in range(self.levels - 1):
            cdf += self._mass(outputs, level)
            k += uniform >= cdf
        return k

    def _parameters_of(self, outputs: Tensor) -> Tensor:
        """Return the outputs as [..., B, P, C, H, W]."""
        return torch.unflatten(wide(outputs), -3, (self.outputs_per_channel, self.channels))

    def _parameters_for(self, outputs: Tensor, k: Tensor) -> Tensor:
        """Return the same for as many images as the levels k have."""
        parameters = self._parameters_of(outputs)
        if k.dtype not in _INTEGERS:
            raise SettingError("images", k.dtype, f"integer levels 0 .. {self.levels - 1} are needed")
        images = torch.broadcast_shapes(parameters.shape[:-4], k.shape[:-3])
        return parameters.expand(*images, *parameters.shape[-4:])

    def _mass(self, outputs: Tensor, level: int) -> Tensor:
        k = torch.tensor(level, device=outputs.device).view(1, 1, 1)
        return self._log_mass(outputs, k).clamp_min(-80).exp()  # underflow is slow

    def _points(self, k: Tensor) -> Tensor:
        """Return the points k / (K-1) in [0, 1] that networks see and densities are trained on."""
        return k / (self.levels - 1)


class DensityLikelihood(Likelihood):
    """A continuous family on [0, 1]: trained on its density at k / (K-1) or on its mass, scored on the mass.

    Args:
        levels: K.
        channels: C.
        trained_on: ``density`` (the classical loss) or ``mass`` (the score itself).

    Attributes:
        on_unit_interval: whether x lies in [0, 1]; if not, x is any number and the end bins hold the tails.
    """

    on_unit_interval: bool = False

    def __init__(self, levels: int, channels: int, trained_on: TrainedOn = "density") -> None:
        super().__init__(levels, channels)
        choices = get_args(TrainedOn)
        require(trained_on in choices, "trained_on", trained_on, "no such training score", choices)
        self.trained_on = trained_on

    @abstractmethod
    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return the log-density of each pixel at the points `x` in [0, 1], all constants included."""

    @abstractmethod
    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        """Return P(x > edge) of each pixel for an inner edge, 0 < edge < 1."""

    def log_prob(self, outputs: Tensor, k: Tensor) -> Tensor:
        """Return the training score, [..., B] in nats: the log-density at k / (K-1), or the log-mass."""
        if self.trained_on == "mass":
            return self.log_mass(outputs, k)
        parameters = self._parameters_for(outputs, k)
        return _per_image(self._log_density(parameters, self._points(k.to(parameters.dtype))))

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1), [..., B, C, H, W]: the sum over inner edges j/K of P(x > j/K), over K-1."""
        parameters = self._parameters_of(outputs)
        expected = torch.zeros_like(parameters[..., 0, :, :, :])
        for edge in range(1, self.levels):
            expected = expected + self._exceedance(parameters, edge / self.levels)
        return (expected / (self.levels - 1)).clamp(0, 1)

    def _levels_of(self, x: Tensor) -> Tensor:
        """Return the levels of draws x; what lies outside [0, 1] belongs to the end bins."""
        return (x * self.levels).floor().clamp(0, self.levels - 1)

    def _centres(self, k: Tensor) -> Tensor:
        """Return the bins' centres (k + 1/2) / K, for densities that are singular at 0 or 1."""
        return (k + 0.5) / self.levels


def number(value: Any) -> float:
    """Return `value`, or NaN, which lies in no range, if a configuration gives no number."""
    return float(value) if isinstance(value, int | float) else math.nan


def _per_image(per_pixel: Tensor) -> Tensor:
    return per_pixel.sum((-3, -2, -1))
