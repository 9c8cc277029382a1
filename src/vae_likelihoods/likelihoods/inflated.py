"""Spikes at the lowest and the highest level, on top of any other likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import Likelihood, number
from vae_likelihoods.likelihoods.mixing import mixed
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.tensors import uniform_like, wide

_ABSENT = -1e38  # the log of a spike's mass where it is not: below all others, and no infinity


class Inflated(Likelihood):
    """P(k) = w_0 [k = 0] + w_1 [k = K-1] + (1 - w_0 - w_1) P_base(k).

    Zero inflation (Lambert 1992, Technometrics 34, 1-14), at both ends as in the inflated beta (Ospina and
    Ferrari 2010, arXiv:0705.0700). The outputs are those of the base, then a logit for w_0 and
    one for w_1, for each pixel and channel; w is their softmax against a third logit, which is 0.

    Where the base's channels depend on each other, the spikes are of the whole pixel: all of its channels are
    at 0, or all are at K-1, with two logits for a pixel. It is trained on the mass, whatever the base is
    trained on: next to atoms a density counts for nothing. For K = 2 and one channel the spikes are allowed,
    but add nothing: the base reaches every pmf without them.

    Args:
        levels: K; all that the base can model.
        channels: C.
        base: makes the likelihood that is inflated, from levels and channels.
        weight: w_0, and w_1, where the logits are 0.

    Raises:
        SettingError: weight not within 0 .. 0.5, or base makes no likelihood, or one that is inflated.
        UnsupportedLevels: the base cannot model K levels.
    """

    def __init__(self, levels: int, channels: int, base: Callable[..., Likelihood], weight: float) -> None:
        super().__init__(levels, channels)
        require(0 < number(weight) < 0.5, "weight", weight, "need more than 0 and less than 0.5")
        self.base = _made(base, levels, channels)
        self.outputs_per_channel = self.base.outputs_per_channel + 2
        self.channels_factorise = self.base.channels_factorise
        self.spiked = channels if self.channels_factorise else 1  # what has spikes of its own in a pixel
        self.offset = math.log(weight / (1 - 2 * weight))

    @property
    @override
    def output_channels(self) -> int:
        """Those of the base and 2 C; those of the base and 2 if its channels are coupled."""
        return self.base.output_channels + 2 * self.spiked

    @override
    def _parameters_of(self, outputs: Tensor) -> Tensor:
        return torch.unflatten(wide(outputs), -3, (-1, self.spiked))

    @override
    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        of_base, logits = self._split(outputs)
        log_base = self.base.pixel_log_mass(of_base, k)
        if not self.channels_factorise:
            lowest, highest = k.amin(-3, keepdim=True), k.amax(-3, keepdim=True)
            k = torch.where(lowest == highest, highest.short(), -1)  # what all channels share
        numbers = torch.cat([logits, log_base.unsqueeze(-4)], -4)
        return pointwise(self._log_inflated, numbers, k, components=3)

    def _log_inflated(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        """Return the log-mass from the two logits and that of the base (a `pointwise.Formula`)."""
        (parts,) = numbers
        logits, log_base = parts.split([2, 1], 1)
        k = k.to(parts.dtype)
        off = torch.cat([k, k - (self.levels - 1)], 1).abs_().clamp_max_(1).mul_(_ABSENT)
        logits = torch.cat([logits + self.offset, torch.zeros_like(log_base)], 1)
        value, prior, posterior = mixed(logits, torch.cat([off, log_base], 1))
        if with_slopes:
            posterior[:, :2].sub_(prior[:, :2])
            return Values(value, [posterior])
        return Values(value)

    @override
    def mean(self, outputs: Tensor) -> Tensor:
        """Return w_1 plus the rest's share of the base's mean; as exact as that is."""
        of_base, logits = self._split(self._parameters_of(outputs))
        _, top, rest = self._weights(logits)
        return (top + rest * self.base.mean(of_base)).clamp(0, 1)

    @override
    def summary(self) -> dict[str, float]:
        """Return that of the base: the weights belong to pixels."""
        return self.base.summary()

    @override
    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        of_base, logits = self._split(outputs)
        zero, top, _ = self._weights(logits)
        uniform = uniform_like(zero, generator)
        levels = self.base.sample(of_base, generator)
        levels = torch.where(uniform < zero + top, self.levels - 1, levels)
        return torch.where(uniform < zero, 0, levels)

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of the base as it takes them, and the logits of w_0 and w_1 at dimension -4."""
        of_base, logits = outputs.split([outputs.shape[-4] - 2, 2], -4)
        return of_base.flatten(-4, -3), logits

    def _weights(self, logits: Tensor) -> Sequence[Tensor]:
        """Return w_0, w_1 and 1 - w_0 - w_1."""
        rest = torch.zeros_like(logits[..., :1, :, :, :])
        return torch.cat([logits + self.offset, rest], -4).softmax(-4).unbind(-4)


def _made(base: Any, levels: int, channels: int) -> Likelihood:
    reason = "must be another likelihood, named by _target_ in a section with _partial_: true"
    require(callable(base), "base", base, reason)
    made = base(levels=levels, channels=channels)
    require(isinstance(made, Likelihood) and not isinstance(made, Inflated), "base", base, reason)
    likelihood: Likelihood = made
    return likelihood
