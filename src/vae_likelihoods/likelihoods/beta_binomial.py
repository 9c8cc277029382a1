"""Beta-binomial: a binomial whose probability is itself uncertain, from U-shaped to nearly binomial."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import Likelihood, number, uniform_like
from vae_likelihoods.likelihoods.numerics import (
    binet,
    binet_slope,
    differentiable,
    log_binomial_at_mode,
    look_up,
    mirrored,
    side_of,
    stirling_half,
    stirling_half_slope,
)


class BetaBinomial(Likelihood):
    """k ~ Binomial(n, rho), rho ~ Beta(c p, c (1-p)), n = K - 1, p = sigmoid(first output).

    The second output moves log c, bounded: c = concentration exp(h tanh(output / h)), h = log spread.
    With the default concentration 2 a decoder whose outputs are 0 starts from the uniform pmf. c -> 0 makes
    a pixel black or white, c -> infinity binomial. For K = 2 it is the Bernoulli, whatever c.

    Args:
        levels: K.
        channels: C.
        concentration: c where the second output is 0.
        spread: by which factor c may lie above or below it; up to 1e4.

    Raises:
        SettingError: concentration not within 0.1 .. 100, spread not within 1 .. 1e4.
    """

    outputs_per_channel = 2
    at_mode: Tensor

    def __init__(self, levels: int, channels: int, concentration: float = 2.0, spread: float = 1e4) -> None:
        super().__init__(levels, channels)
        require(
            0.1 <= number(concentration) <= 100, "likelihood.concentration", concentration, "need 0.1 .. 100"
        )
        require(1 < number(spread) <= 1e4, "likelihood.spread", spread, "need a factor above 1, at most 1e4")
        self.log_concentration, self.bound = math.log(concentration), math.log(spread)
        self.register_buffer("at_mode", log_binomial_at_mode(levels - 1), persistent=False)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        eta, log_c = self._mean_and_concentration(outputs)
        relative = differentiable(_LogBetaBinomial, eta, log_c, k.float(), self.levels - 1)
        return look_up(self.at_mode, k) + relative

    def mean(self, outputs: Tensor) -> Tensor:
        """Return p."""
        return self._parameters_of(outputs).unbind(-4)[0].sigmoid()

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw by Polya's urn: n draws from c balls, each put back with another of its colour."""
        eta, log_c = self._mean_and_concentration(outputs)
        c, k = log_c.exp(), torch.zeros_like(eta)
        on = c * eta.sigmoid()
        for drawn in range(self.levels - 1):
            k += uniform_like(k, generator) * (c + drawn) < on + k
        return k

    def _mean_and_concentration(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        eta, raw = outputs.unbind(-4)
        # 2 sigmoid(2 x) - 1 is tanh(x), at a tenth of its price.
        squashed = 2 * torch.sigmoid(raw * (2 / self.bound)) - 1
        return eta, self.log_concentration + self.bound * squashed


class _LogBetaBinomial(torch.autograd.Function):
    """log P(k) less log Binomial(k; n, k/n), to about 1e-6 in float32 and for any c.

    Nine lgammas of up to thousands would leave no digits. With lgamma(x + 1) = y log y - y + log sqrt(2 pi)
    + remainder, y = x + 1/2 for the parts a = c p and b = c (1-p) and y = x + 1 for their sum, the large
    terms add up to a weighted Jensen-Shannon divergence between (A, B) = (a + 1/2, b + 1/2) and (k, n-k),

        -[A log1p(s/A) + B log1p(-s/B) + k log1p(-s/k) + (n-k) log1p(s/(n-k))],

    s = (k - n A/(A+B)) (A+B)/(A+B+n), whose first-order parts cancel; what is left is small.
    By symmetry (k -> n-k, p -> 1-p) only p <= 1/2 is computed. The backward pass has the digamma
    differences by the same expansion.
    """

    @staticmethod
    def forward(ctx: Any, eta: Tensor, log_c: Tensor, k: Tensor, n: int) -> Tensor:
        ctx.n = n
        ctx.save_for_backward(eta, log_c, k)
        on, off, a, b, c, q = _mirrored(eta, log_c, k, n)
        shift, to_on, to_off = _log_ratios(on, off, a, b, c)
        result = (a + 0.5) * to_on + (b + 0.5) * to_off
        share = n / (c + 1 + n)
        result += on * _log_ratio(-shift, on.clamp_min(1), (a + 0.5 + on) * share)
        result += off * _log_ratio(shift, off.clamp_min(1), (b + 0.5 + off) * share)
        result += stirling_half(a + on) - stirling_half(a) + stirling_half(b + off) - stirling_half(b)
        result -= binet(c + 1 + n) - binet(c + 1)
        result += 0.5 * torch.log((b / (b + off) * ((c + n) / c)).square() * ((c + 1 + n) / (c + 1)))
        # log(a / (a + on)), 0 where on = 0; log a from the logit, because a itself may underflow.
        log_a = log_c - eta.abs() + q.log()
        return result + on.clamp_max(1) * (log_a - torch.log(a + on.clamp_min(1)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (eta, log_c, k), n = ctx.saved_tensors, ctx.n
        on, off, a, b, c, q = _mirrored(eta, log_c, k, n)
        _, to_on, to_off = _log_ratios(on, off, a, b, c)
        # x (digamma(x + m) - digamma(x)) for a, b and c, each less x log((c+1+n) / (c+1)).
        da = a * (to_on + stirling_half_slope(a + on) - stirling_half_slope(a)) + on / (a + on.clamp_min(1))
        db = b * (to_off + stirling_half_slope(b + off) - stirling_half_slope(b)) + off / (b + off)
        slope = binet_slope(c + 1 + n) - binet_slope(c + 1) + 0.5 * n / ((c + 1) * (c + 1 + n))
        dc = c * slope + n / (c + n)
        to_eta = side_of(-eta) * (q * da - a / c * db)
        return grad * to_eta, grad * (da + db - dc), None, None


def _mirrored(eta: Tensor, log_c: Tensor, k: Tensor, n: int) -> tuple[Tensor, ...]:
    """Return k, n-k, a = c p, b = c q, c and q = 1-p, with the two colours exchanged where p > 1/2."""
    c, q = log_c.exp(), eta.abs().sigmoid()
    on = mirrored(k, n, side_of(-eta))
    return on, n - on, c * (-eta.abs()).sigmoid(), c * q, c, q


def _log_ratios(on: Tensor, off: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """Return s and the log-ratios log1p(s/A), log1p(-s/B)."""
    total = c + 1
    weight = total / (total + (on + off))
    a, b = a + 0.5, b + 0.5
    shift = (on - (on + off) * (a / total)) * weight
    return shift, _log_ratio(shift, a, (a + on) * weight), _log_ratio(-shift, b, (b + off) * weight)


def _log_ratio(shift: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return log(end / start) for end = start + shift, with all digits whether they are near or far apart."""
    # log(end / start) = log1p(shift / start) = -log1p(-shift / end): the argument that is positive is exact.
    return torch.copysign(torch.log1p(shift.abs() / torch.minimum(start, end)), shift)
