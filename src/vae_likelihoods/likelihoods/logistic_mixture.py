"""Mixture of logistics: several peaks a pixel, and colour channels that know of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.stats import qmc
from torch import Tensor

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.likelihoods.base import DensityLikelihood, TrainedOn, uniform_like, wide
from vae_likelihoods.likelihoods.bins import LogBinMass, level_bins
from vae_likelihoods.likelihoods.logistic import log_logistic_density, standard_logistic
from vae_likelihoods.likelihoods.logistic_numerics import log_logistic_bin
from vae_likelihoods.likelihoods.mixtures import mixed
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.scales import PixelScale


class Components(NamedTuple):
    """The M components of every pixel, at dimension -4."""

    logits: Tensor  # [..., M, C, H, W], or [..., M, 1, H, W] where the channels of a pixel share them
    mean: Tensor  # [..., M, C, H, W]
    raw_scale: Tensor  # [..., M, C, H, W], the decoder's number for the scale
    coupling: Tensor | None  # [..., M, C(C-1)/2, H, W], how a channel's mean follows those before it


class LogisticMixture(DensityLikelihood):
    """sum_m w_m Logistic(mu_m, s_m), its tails censored into the end bins (Salimans et al. 2017, PixelCNN++).

    With `coupled` and several channels, one component is drawn for all channels of a pixel, and within it the
    mean of a channel is linear in the channels before it (their equation 3): outputs are then M weights,
    M C means, M C scales and M C (C-1) / 2 coefficients, in this order.

    Args:
        levels: K.
        channels: C.
        components: M.
        scale: s_m where the decoder's output is 0, in units of the [0, 1] range.
        min_scale: lower bound in bins of width 1/K.
        coupled: whether the channels of a pixel depend on each other; nothing for one channel.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: components below 1, min_scale not positive, scale not above it.
    """

    places: Tensor

    def __init__(
        self,
        levels: int,
        channels: int,
        components: int = 5,
        scale: float = 0.1,
        min_scale: float = 0.1,
        coupled: bool = True,
        trained_on: TrainedOn = "mass",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        require_count("components", components)
        require(
            type(coupled) is bool,
            "coupled",
            coupled,
            "must say whether channels depend",
            [True, False],
        )
        self.components, self.outputs_per_channel = components, 3 * components
        self.scale = PixelScale("scale", scale, min_scale, levels)
        self.channels_factorise = channels == 1 or not coupled
        # Means start spread over the range.
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
        own = self._components(outputs)
        mean = self._shifted(own, self._points(k.to(own.mean.dtype)).unsqueeze(-4))
        # Components and channels together are as many independent channels.
        numbers = torch.stack([part.flatten(-4, -3) for part in (mean, own.raw_scale)], -4)
        levels = k.expand(mean[..., 0, :, :, :].shape).unsqueeze(-4).expand(mean.shape).flatten(-4, -3)
        found = pointwise(LogBinMass(log_logistic_bin, level_bins(self.levels), self.scale), numbers, levels)
        return self._mixed(own, found.unflatten(-3, (self.components, self.channels)))

    def _log_mixture(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        """Return the log-mass of uncoupled channels, with its derivatives (a `pointwise.Formula`)."""
        logits, mean, raw = numbers
        of_component = LogBinMass(log_logistic_bin, level_bins(self.levels), self.scale)
        found = of_component(with_slopes, [mean + self.places, raw], None, k)
        value, prior, posterior = mixed(logits, found.value)
        slopes = [slope.mul_(posterior) for slope in found.slopes]
        return Values(value, [posterior.sub_(prior), *slopes]) if with_slopes else Values(value)

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        own, x = self._components(outputs), x.unsqueeze(-4)
        scale = self.scale.of([own.raw_scale])
        density = log_logistic_density((x - self._shifted(own, x)) / scale) - scale.log()
        return self._mixed(own, density)

    def _shifted(self, own: Components, x: Tensor) -> Tensor:
        """Return the means [..., M, C, H, W], given the pixel's values x [..., 1, C, H, W]."""
        if own.coupling is None:
            return own.mean
        shifts = [torch.zeros_like(own.mean[..., :1, :, :])]
        for channel in range(1, self.channels):
            first = channel * (channel - 1) // 2
            factors = own.coupling[..., first : first + channel, :, :]
            shifts.append((factors * x[..., :channel, :, :]).sum(-3, keepdim=True))
        return own.mean + torch.cat(shifts, -3)

    def _mixed(self, own: Components, log_likelihood: Tensor) -> Tensor:
        """Return log sum_m w_m p_m, summed over the channels that share their component."""
        if own.coupling is not None:
            log_likelihood = log_likelihood.sum(-3, keepdim=True)
        return torch.logsumexp(own.logits.log_softmax(-4) + log_likelihood, -4)

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        own = self._components(outputs)
        above = torch.sigmoid((own.mean - edge) / self.scale.of([own.raw_scale]))
        return (own.logits.softmax(-4) * above).sum(-4)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1): exact, or if channels are coupled from 64 Sobol points (to about 0.002)."""
        if self.channels_factorise:
            return super().mean(outputs)
        own = self._components(self._parameters_of(outputs))
        points = qmc.Sobol(self.channels, scramble=False).random(64) + 1 / 128  # the middles of their cells
        total = torch.zeros_like(own.mean)
        for noise in torch.logit(torch.tensor(points, device=total.device)).float():
            total += self._chain(own, noise.view(-1, 1, 1))
        return ((own.logits.softmax(-4) * total).sum(-4) / (len(points) * (self.levels - 1))).clamp(0, 1)

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        own = self._components(outputs)
        noise = standard_logistic(own.mean[..., 0, :, :, :], generator).unsqueeze(-4)
        levels = self._chain(own, noise)
        gumbel = -torch.log(-torch.log(uniform_like(own.logits, generator).clamp_min(1e-30)))
        chosen = (own.logits + gumbel).argmax(-4, keepdim=True)
        shape = (*chosen.shape[:-3], self.channels, *chosen.shape[-2:])
        return levels.gather(-4, chosen.expand(shape)).squeeze(-4)

    def _chain(self, own: Components, noise: Tensor) -> Tensor:
        """Return the levels of every component [..., M, C, H, W] for standard logistic noise."""
        levels, spread = torch.zeros_like(own.mean), self.scale.of([own.raw_scale]) * noise
        for channel in range(1 if own.coupling is None else self.channels):
            mean = self._shifted(own, self._points(levels))
            drawn = self._levels_of(mean + spread)
            if own.coupling is None:
                return drawn
            levels[..., channel, :, :] = drawn[..., channel, :, :]
        return levels
