"""Mixtures of a law: several peaks a pixel, and colour channels that depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.stats import qmc
from torch import Tensor

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.likelihoods.base import DensityLikelihood, TrainedOn
from vae_likelihoods.likelihoods.bins import LogBinMass, level_bins
from vae_likelihoods.likelihoods.laws.base import FAR, Law
from vae_likelihoods.likelihoods.location_scale import checked_law
from vae_likelihoods.likelihoods.mixing import mixed
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.scales import PixelScale
from vae_likelihoods.likelihoods.tensors import uniform_like, wide

_POINTS = 512  # of the mean over coupled channels


class Components(NamedTuple):
    """The M components of every pixel, at dimension -4."""

    logits: Tensor  # [..., M, C, H, W], or [..., M, 1, H, W] where the channels of a pixel share them
    mean: Tensor  # [..., M, C, H, W]
    raw_scale: Tensor  # [..., M, C, H, W], the decoder's number for the scale
    coupling: Tensor | None  # [..., M, C(C-1)/2, H, W], how the mean of a channel follows those before it


class Mixture(DensityLikelihood):
    """x = mu_m + s_m u with probability w_m, u from a law, with the tails in the end bins.

    With `coupled` and several channels, one component is drawn for all channels of a pixel, and within it the
    mean of a channel is linear in the channels before it. With the logistic law this is the mixture of
    PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517, equations 1 to 3). The outputs are then M weights, M C
    means, M C scales and M C (C-1) / 2 coefficients, in this order.

    Args:
        levels: K.
        channels: C.
        law: the law of u.
        components: M.
        scale: s_m where the decoder's output is 0, in units of the [0, 1] range.
        min_scale: lower bound in bins of width 1/K.
        coupled: whether the channels of a pixel depend on each other; has no effect on one channel.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: law is not a `Law`, components below 1, min_scale not positive, or scale not above it.
    """

    places: Tensor

    def __init__(
        self,
        levels: int,
        channels: int,
        law: Law,
        components: int,
        scale: float,
        min_scale: float,
        coupled: bool = True,
        trained_on: TrainedOn = "mass",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        require_count("components", components)
        choices = [True, False]
        require(type(coupled) is bool, "coupled", coupled, "must say whether channels depend", choices)
        self.law, self.components, self.outputs_per_channel = checked_law(law), components, 3 * components
        self.scale = PixelScale(scale, min_scale, levels)
        self.channels_factorise = channels == 1 or not coupled
        # At the start the means are spread over the range.
        places = (torch.arange(components) + 0.5) / components
        self.register_buffer("places", places.view(-1, 1, 1, 1), persistent=False)

    @property
    def output_channels(self) -> int:
        """3 M C; M (1 + 2 C + C (C-1) / 2) if the channels are coupled."""
        if self.channels_factorise:
            return super().output_channels
        return self.components * (1 + 2 * self.channels + self._pairs)

    @property
    def _pairs(self) -> int:
        return self.channels * (self.channels - 1) // 2

    def _parameters_of(self, outputs: Tensor) -> Tensor:
        if self.channels_factorise:
            return super()._parameters_of(outputs)
        return torch.unflatten(wide(outputs), -3, (-1, 1))

    def _components(self, outputs: Tensor) -> Components:
        if self.channels_factorise:
            logits, mean, raw = torch.unflatten(outputs, -4, (3, self.components)).unbind(-5)
            return Components(logits, self.places + mean, raw, None)
        sizes = [1, self.channels, self.channels, self._pairs]
        flat = outputs.squeeze(-3).split([self.components * size for size in sizes], -3)
        logits, mean, raw, coupling = (
            torch.unflatten(part, -3, (self.components, size)) for part, size in zip(flat, sizes, strict=True)
        )
        return Components(logits, self.places + mean, raw, torch.tanh(coupling))

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        if self.channels_factorise:
            return pointwise(self._log_mixture, outputs, k, components=self.components)
        parts = self._components(outputs)
        mean = self._shifted(parts, self._points(k.to(parts.mean.dtype)).unsqueeze(-4))
        # Components and channels together are as many independent channels.
        numbers = torch.stack([part.flatten(-4, -3) for part in (mean, parts.raw_scale)], -4)
        levels = k.expand(mean[..., 0, :, :, :].shape).unsqueeze(-4).expand(mean.shape).flatten(-4, -3)
        log_masses = pointwise(self._log_component_mass, numbers, levels)
        return self._mixed(parts, log_masses.unflatten(-3, (self.components, self.channels)))

    @property
    def _log_component_mass(self) -> LogBinMass:
        return LogBinMass(self.law, level_bins(self.levels), self.scale)

    def _log_mixture(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        """Return the log-mass of uncoupled channels, with its derivatives (a `pointwise.Formula`)."""
        logits, mean, raw = numbers
        components = self._log_component_mass(with_slopes, [mean + self.places, raw], None, k)
        value, prior, posterior = mixed(logits, components.value)
        slopes = [slope.mul_(posterior) for slope in components.slopes]
        return Values(value, [posterior.sub_(prior), *slopes]) if with_slopes else Values(value)

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        parts, x = self._components(outputs), x.unsqueeze(-4)
        scale = self.scale.of([parts.raw_scale])
        u = ((x - self._shifted(parts, x)) / scale).clamp(-FAR, FAR)
        return self._mixed(parts, self.law.log_density(u) - scale.log())

    def _shifted(self, parts: Components, x: Tensor) -> Tensor:
        """Return the means [..., M, C, H, W], given the pixel's values x [..., 1, C, H, W]."""
        if parts.coupling is None:
            return parts.mean
        shifts = [_shift(parts.coupling, x, channel) for channel in range(self.channels)]
        return parts.mean + torch.stack(shifts, -3)

    def _mixed(self, parts: Components, log_likelihood: Tensor) -> Tensor:
        """Return log sum_m w_m p_m, summed over the channels that share their component."""
        if parts.coupling is not None:
            log_likelihood = log_likelihood.sum(-3, keepdim=True)
        return torch.logsumexp(parts.logits.log_softmax(-4) + log_likelihood, -4)

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        parts = self._components(outputs)
        u = ((edge - parts.mean) / self.scale.of([parts.raw_scale])).clamp(-FAR, FAR)
        return (parts.logits.softmax(-4) * self.law.upper_tail(u)).sum(-4)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1): exact, or if channels are coupled from 512 Sobol points.

        These give it to 0.004 for three channels, and to 0.008 for four. The levels of a channel jump with
        the noise of those before it, so the error is largest for few levels, and falls with the number of
        points alone.
        """
        if self.channels_factorise:
            return super().mean(outputs)
        parts = self._components(self._parameters_of(outputs))
        middle = 0.5 / _POINTS  # of the cells that the points begin
        points = qmc.Sobol(self.channels, scramble=False).random(_POINTS) + middle
        total = torch.zeros_like(parts.mean)
        for noise in self.law.quantile(torch.tensor(points)).to(total):
            total += self._chain(parts, noise.view(-1, 1, 1))
        return ((parts.logits.softmax(-4) * total).sum(-4) / (len(points) * (self.levels - 1))).clamp(0, 1)

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        parts = self._components(outputs)
        noise = self.law.draw(parts.mean[..., 0, :, :, :], generator).unsqueeze(-4)
        levels = self._chain(parts, noise)
        gumbel = -torch.log(-torch.log(uniform_like(parts.logits, generator).clamp_min(1e-30)))
        component = (parts.logits + gumbel).argmax(-4, keepdim=True)
        shape = (*component.shape[:-3], self.channels, *component.shape[-2:])
        return levels.gather(-4, component.expand(shape)).squeeze(-4)

    def _chain(self, parts: Components, noise: Tensor) -> Tensor:
        """Return the levels of every component [..., M, C, H, W] for noise from the law."""
        draws = parts.mean + self.scale.of([parts.raw_scale]) * noise
        levels = self._levels_of(draws)
        if parts.coupling is not None:
            for channel in range(1, self.channels):
                shift = _shift(parts.coupling, self._points(levels[..., :channel, :, :]), channel)
                levels[..., channel, :, :] = self._levels_of(draws[..., channel, :, :] + shift)
        return levels


def _shift(coupling: Tensor, x: Tensor, channel: int) -> Tensor:
    """Return by how much the means of a channel follow the values x of those before it, [..., M, H, W]."""
    first = channel * (channel - 1) // 2
    return (coupling[..., first : first + channel, :, :] * x[..., :channel, :, :]).sum(-3)
