"""Bernoulli: binary cross-entropy, the exact likelihood of binary pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.likelihoods.base import Likelihood, UnsupportedLevels
from vae_likelihoods.likelihoods.tensors import uniform_like


class Bernoulli(Likelihood):
    """P(k = 1) = sigmoid(eta); minus the binary cross-entropy, summed over pixels.

    For K = 2 only: on grey pixels cross-entropy is not a log-probability; the likelihood that it comes from
    is `binomial`.

    Raises:
        UnsupportedLevels: K is not 2.
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__(levels, channels)
        if levels != 2:
            reason = "bernoulli models binary pixels only; likelihood=binomial is its form for more levels"
            raise UnsupportedLevels("levels", levels, reason, [2])

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        return -F.softplus((1 - 2 * k.to(eta.dtype)) * eta)

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Return the outputs [C, H, W] of pixels that are on with probability `mean`: its logit."""
        return mean.logit()

    @override
    def outputs_of(self, shares: Tensor) -> Tensor:
        """Return the logit of the share of level 1."""
        return shares.select(-4, 1).logit(eps=torch.finfo(shares.dtype).eps)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return sigmoid(eta)."""
        (eta,) = self._parameters_of(outputs).unbind(-4)
        return eta.sigmoid()

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        (eta,) = outputs.unbind(-4)
        return uniform_like(eta, generator) < eta.sigmoid()
