"""Categorical: any pmf over few levels; over many, a mixture of pmfs that all pixels share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.mixing import log_mixture_of_rows
from vae_likelihoods.likelihoods.tensors import uniform_like
from vae_likelihoods.precision import precise


class Categorical(Likelihood):
    """P(k) = sum_j w_j A_jk, the weights w = softmax(outputs) of a pixel and a table A that is learned.

    For K <= rank the table is the identity: any pmf, a softmax over K outputs. For larger K the matrix of
    probabilities, pixels by levels, has the nonnegative rank `rank`, and a decoder needs `rank` outputs, not
    K. The rows of A start as bumps that cover the levels evenly.

    Args:
        levels: K.
        channels: C.
        rank: J, rows of the table.

    Raises:
        SettingError: rank below 2.
    """

    def __init__(self, levels: int, channels: int, rank: int = 32) -> None:
        super().__init__(levels, channels)
        require_count("rank", rank, least=2)
        self.outputs_per_channel = min(rank, levels)
        self.table = nn.Parameter(_bumps(rank, levels)) if rank < levels else None

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        if self.table is None:
            k = k.long().expand(outputs[..., 0, :, :, :].shape)
            return outputs.log_softmax(-4).gather(-4, k.unsqueeze(-4)).squeeze(-4)
        return log_mixture_of_rows(outputs, self._log_rows(), k)

    @override
    def log_pmf(self, outputs: Tensor) -> Tensor:
        """Return log P(k) of every level, [..., K, C, H, W]."""
        if self.table is not None:
            return super().log_pmf(outputs)
        return self._parameters_of(outputs).log_softmax(-4)  # all levels at once

    @override
    def outputs_of(self, shares: Tensor) -> Tensor | None:
        """Return the logarithms of the shares; None if the pmf is a mixture of rows of the table."""
        if self.table is not None:
            return None
        return shares.clamp_min(torch.finfo(shares.dtype).eps).log().flatten(-4, -3)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return sum_j w_j E_j[k] / (K-1)."""
        weights = self._parameters_of(outputs).softmax(-4)
        points = torch.arange(self.levels, device=outputs.device, dtype=weights.dtype) / (self.levels - 1)
        of_rows = points if self.table is None else self._log_rows().exp() @ points
        return torch.einsum("...jchw,j->...chw", weights, of_rows).clamp(0, 1)

    def _sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        cdf = outputs.softmax(-4).cumsum(-4)
        row = (uniform_like(cdf[..., :1, :, :, :], generator) * cdf[..., -1:, :, :, :] >= cdf).sum(-4)
        row = row.clamp_max(self.outputs_per_channel - 1)
        if self.table is None:
            return row
        # One search for all rows: the cdf of row j lies in j .. j+1.
        cdfs = precise(self._log_rows()).exp().cumsum(1).clamp_max(1)
        cdfs += torch.arange(len(cdfs), device=cdfs.device)[:, None]
        sought = (row + uniform_like(row, generator)).to(cdfs.device)
        place = torch.searchsorted(cdfs.flatten(), sought, right=True).to(row.device)
        return (place - row * self.levels).clamp(0, self.levels - 1)

    def _log_rows(self) -> Tensor:
        """Return log A, [J, K]."""
        assert self.table is not None
        return self.table.log_softmax(1)


def _bumps(rank: int, levels: int) -> Tensor:
    """Return log-weights of evenly spaced bumps, each as wide as their distance, [rank, levels]."""
    gap = (levels - 1) / (rank - 1)
    centres, k = torch.arange(rank).unsqueeze(1) * gap, torch.arange(levels)
    return -0.5 * ((k - centres) / gap).square()
