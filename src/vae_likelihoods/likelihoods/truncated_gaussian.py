"""Truncated Gaussian: a Gaussian that lives on [0, 1], its tails cut off instead of censored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import TrainedOn
from vae_likelihoods.likelihoods.location_scale import ScaledLikelihood
from vae_likelihoods.likelihoods.normal_numerics import NormalInterval, log_beyond, slopes
from vae_likelihoods.likelihoods.numerics import above, mirrored
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.scales import Scale, learned_scale

# Beyond this many ranges a truncated Gaussian is an exponential slope, and float32 has no digits for it.
_FARTHEST = 1e3


class TruncatedGaussian(ScaledLikelihood):
    """p(x) = N(x; mu, sigma^2) / Z on [0, 1], Z = Phi((1 - mu)/sigma) - Phi(-mu/sigma).

    The mean of the pmf is not mu; mu far below 0 is an exponential slope, as in `continuous_bernoulli`.

    Args:
        levels: K.
        channels: C.
        sigma: where training of the scale starts, in units of the [0, 1] range.
        min_sigma: lower bound in bins of width 1/K.
        per_pixel: True, sigma is a second output a pixel; False, all pixels share one.
        trained_on: ``density`` or ``mass``.

    Raises:
        SettingError: min_sigma is not positive, or sigma not above it.
    """

    scale_name = "sigma"
    on_unit_interval = True

    def __init__(
        self,
        levels: int,
        channels: int,
        sigma: float = 0.3,
        min_sigma: float = 0.25,
        per_pixel: bool = True,
        trained_on: TrainedOn = "mass",
    ) -> None:
        super().__init__(levels, channels, trained_on)
        self._take(learned_scale(per_pixel, "sigma", sigma, min_sigma, levels))

    def _log_density(self, outputs: Tensor, x: Tensor) -> Tensor:
        # The mass of an interval so short that the density is nearly constant in it, over its length.
        short = 1e-3
        start = (x * self.levels - 0.5 * short).clamp(0, self.levels - short)
        return self._log_share(outputs, start, short) + math.log(self.levels / short)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        return self._log_share(outputs, k, 1.0)

    def _exceedance(self, outputs: Tensor, edge: float) -> Tensor:
        start = outputs.new_full((1, 1, 1), edge * self.levels)
        return self._log_share(outputs, start, (1 - edge) * self.levels).clamp_min(-80).exp()

    def mean(self, outputs: Tensor) -> Tensor:
        """Return E[k] / (K-1) of the pmf over its sum, which rounding leaves a few 1e-6 from 1."""
        parameters = self._parameters_of(outputs)
        total = torch.zeros_like(parameters[..., 0, :, :, :])
        expected = torch.zeros_like(total)
        for level in range(self.levels):
            mass = self._mass(parameters, level)
            total, expected = total + mass, expected + level * mass
        return (expected / total / (self.levels - 1)).clamp(0, 1)

    def _log_share(self, outputs: Tensor, start: Tensor, length: float) -> Tensor:
        """Return the log of the share of [0, 1] that an interval has; start and length in bins."""
        formula = partial(_log_share, self.scale, length, self.levels)
        return pointwise(formula, outputs, start, self._shared())


def _log_share(
    scale: Scale,
    length: float,
    levels: int,
    with_slopes: bool,
    numbers: Sequence[Tensor],
    shared: Tensor | None,
    start: Tensor,
) -> Values:
    """Return log(mass(interval) / mass([0, 1])) under N(mu, sigma^2) (a `pointwise.Formula`).

    Where mu lies outside [0, 1] both masses are tiny. Their densities at the edges nearest to mu, a and A,
    are compared as (a^2 - A^2) / 2 = (a - A) (a + A) / 2, with a - A from the levels, which are exact.
    """
    output, *raw = numbers
    sigma, by_raw = scale.with_slope(raw) if shared is None else (shared, None)
    mu, start = output.clamp(-_FARTHEST, _FARTHEST), start.to(output.dtype)
    per_sigma = sigma.reciprocal()
    width, below = per_sigma * (1 / levels), start - levels * mu  # width: of a bin, in standard deviations
    own_width = width if length == 1 else length * width
    part = NormalInterval.of(below * width, (below + length).mul_(width), own_width)
    whole = NormalInterval.of((mu * per_sigma).neg_(), (1 - mu).mul_(per_sigma), per_sigma)
    own, total = log_beyond(part), log_beyond(whole)
    from_end = mirrored(start, levels - length, whole.side)
    outside = from_end.mul_(width).mul_(part.a + whole.a).mul_(0.5)
    apart = part.half_square.lerp_(outside, above(whole.a, 0))
    if not with_slopes:
        return Values(own.sub_(total).sub_(apart))
    (by_own, by_own_width), (by_total, by_total_width) = slopes(part, own), slopes(whole, total)
    log_share = own.sub_(total).sub_(apart)
    by_log_width = part.c.mul_(part.side).mul_(by_own).addcmul_(part.width, by_own_width)
    by_log_width -= whole.c.mul_(whole.side).mul_(by_total).addcmul_(whole.width, by_total_width)
    by_mu = by_own.sub_(by_total).mul_(per_sigma).neg_()
    if not mu.is_cpu or max(map(abs, torch.aminmax(output))) > _FARTHEST:
        by_mu.mul_(1 - above(output.abs(), _FARTHEST))
    by_sigma = by_log_width.div_(sigma).neg_()
    if by_raw is None:
        return Values(log_share, [by_mu], by_sigma)
    return Values(log_share, [by_mu, by_sigma.mul_(by_raw)])
