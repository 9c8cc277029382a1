"""Beta-binomial: a binomial whose probability is itself uncertain, from U-shaped to nearly binomial."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import Likelihood, number
from vae_likelihoods.likelihoods.beta_binomial_ratio import log_ratio_to_mode
from vae_likelihoods.likelihoods.numerics import bounded, bounded_with_slope, log_binomial_at_mode
from vae_likelihoods.likelihoods.pointwise import Values, pointwise
from vae_likelihoods.likelihoods.tensors import look_up, uniform_like


class BetaBinomial(Likelihood):
    """k ~ Binomial(n, rho), rho ~ Beta(c p, c (1-p)), n = K - 1, p = sigmoid(first output).

    The second output moves log c within bounds: c = concentration exp(h tanh(output / h)), h = log spread.
    With the default concentration of 2, outputs of 0 are the uniform pmf. With c -> 0 a pixel is black or
    white, with c -> infinity it is binomial. For K = 2 it is the Bernoulli, whatever c is.

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
        require(0.1 <= number(concentration) <= 100, "concentration", concentration, "need 0.1 .. 100")
        require(1 < number(spread) <= 1e4, "spread", spread, "need a factor above 1, at most 1e4")
        self.log_concentration, self.bound = math.log(concentration), math.log(spread)
        self.register_buffer("at_mode", log_binomial_at_mode(levels - 1), persistent=False)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        return pointwise(self._log_pmf, outputs, k)

    def _log_pmf(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        """Return log P(k) and its derivatives (a `pointwise.Formula`)."""
        eta, raw = numbers
        log_c, slope = bounded_with_slope(raw, self.bound)
        log_c.add_(self.log_concentration)
        value, *slopes = log_ratio_to_mode(self.levels - 1, with_slopes, eta, log_c, k)
        if with_slopes:
            slopes[1].mul_(slope)
        return Values(value.add_(look_up(self.at_mode, k)), slopes)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return p."""
        return self._parameters_of(outputs).unbind(-4)[0].sigmoid()

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw with Polya's urn: n draws from c balls; each ball goes back with another one of its colour."""
        eta, log_c = self._mean_and_concentration(outputs)
        c, k = log_c.exp(), torch.zeros_like(eta)
        on = c * eta.sigmoid()
        for draws in range(self.levels - 1):
            k += uniform_like(k, generator) * (c + draws) < on + k
        return k

    def _mean_and_concentration(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        eta, raw = outputs.unbind(-4)
        return eta, self.log_concentration + bounded(raw, self.bound)


def plain_log_pmf(n: int, eta: Tensor, log_c: Tensor, k: Tensor) -> Tensor:
    """Return log C(n, k) + log B(a + k, b + n - k) - log B(a, b), a = c p, b = c (1-p), with log-gammas.

    It is the specification of `log_ratio_to_mode`, differentiable by eta and log c. In float64 it has enough
    digits for c up to 1e5; in float32 it has not.
    """
    a, b = log_c.exp() * eta.sigmoid(), log_c.exp() * (-eta).sigmoid()
    k = k.to(eta.dtype)
    log_choose = -_log_beta(k + 1, n - k + 1) - math.log(n + 1)
    return log_choose + _log_beta(a + k, b + (n - k)) - _log_beta(a, b)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
