"""Binomial: cross-entropy on grey pixels with the right weight and the right constant."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.numerics import log_binomial_at_mode
from vae_likelihoods.likelihoods.tensors import (
    differentiable,
    look_up,
    mirrored,
    select,
    side_of,
    uniform_like,
)


class Binomial(Likelihood):
    """k ~ Binomial(n, sigmoid(eta)), n = K - 1.

    log P(k) = log C(n, k) - n BCE(k/n, sigmoid(eta)): cross-entropy on grey pixels k/n is this likelihood
    with its reconstruction term divided by n. For K = 2 it is the Bernoulli.
    """

    at_mode: Tensor

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__(levels, channels)
        self.register_buffer("at_mode", log_binomial_at_mode(levels - 1), persistent=False)

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        divergence = differentiable(_BinomialDivergence, eta, k.to(eta.dtype), self.levels - 1)
        return look_up(self.at_mode, k) - divergence

    @override
    def outputs_of(self, shares: Tensor) -> Tensor:
        """Return the logit of the mean of k / n."""
        points = self._points(torch.arange(self.levels, dtype=shares.dtype, device=shares.device))
        mean = torch.einsum("k,...kchw->...chw", points, shares)
        return mean.logit(eps=torch.finfo(mean.dtype).eps)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return sigmoid(eta)."""
        (eta,) = self._parameters_of(outputs).unbind(-4)
        return eta.sigmoid()

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        (eta,) = outputs.unbind(-4)
        p, k = eta.sigmoid(), torch.zeros_like(eta)
        for _ in range(self.levels - 1):
            k += uniform_like(p, generator) < p
        return k


class _BinomialDivergence(torch.autograd.Function):
    """n KL(k/n || sigmoid(eta)) >= 0 in terms of s = k - n p: no numbers of size n log 2 are subtracted.

    The decomposition is that of Loader (2000), Fast and accurate computation of binomial probabilities.
    """

    @staticmethod
    def forward(ctx: Any, eta: Tensor, k: Tensor, n: int) -> Tensor:
        ctx.n = n
        ctx.save_for_backward(eta, k)
        k = mirrored(k, n, side_of(-eta))  # by symmetry p <= 1/2
        eta = -eta.abs()
        s = k - n * eta.sigmoid()
        on, off = k.clamp_min(1), (n - k).clamp_min(1)
        # Far from the mode p may underflow and 1 - s/k has no digits left: there its log is log p - log(k/n).
        far = eta - F.softplus(eta) - torch.log(on / n)
        log_ratio = select(s > 0.5 * k, far, torch.log1p((-s / on).clamp_min(-0.75)))
        return -k * log_ratio - (n - k) * torch.log1p(s / off)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        eta, k = ctx.saved_tensors
        return grad * (ctx.n * eta.sigmoid() - k), None, None
