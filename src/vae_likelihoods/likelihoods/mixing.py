"""Sums of weighted likelihoods, in log space: the log-likelihood of a mixture with its derivatives."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vae_likelihoods.likelihoods.pointwise import blocks
from vae_likelihoods.likelihoods.tensors import differentiable, exp_


class Mixed(NamedTuple):
    """A mixture at one observation."""

    log_likelihood: Tensor  # [B, ...]
    prior: Tensor  # [B, M, ...]  the weights
    posterior: Tensor  # [B, M, ...]


def mixed(logits: Tensor, log_likelihood: Tensor) -> Mixed:
    """Return log sum_m softmax(logits)_m exp(log_likelihood_m), the components along dimension 1.

    The derivative by log_likelihood is the posterior, that by logits is the posterior minus the prior.
    """
    log_weights = logits - logits.amax(1, keepdim=True)
    joint, prior = log_likelihood + log_weights, exp_(log_weights)
    top, total = joint.amax(1, keepdim=True), prior.sum(1, keepdim=True)
    weights = exp_(joint.sub_(top))
    sums = weights.sum(1, keepdim=True)
    result = sums.div(total).log_().add_(top).squeeze(1)
    return Mixed(result, prior.div_(total), weights.div_(sums))


def log_mixture_of_rows(logits: Tensor, log_rows: Tensor, k: Tensor) -> Tensor:
    """Return log sum_j softmax(logits)_j exp(log_rows[j, k]), [..., C, H, W].

    Args:
        logits: [..., J, C, H, W].
        log_rows: [J, K], the log-pmfs that all pixels share.
        k: levels, broadcastable to [..., C, H, W].
    """
    return differentiable(_LogMixtureOfRows, logits, log_rows, k)


class _LogMixtureOfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, log_rows: Tensor, k: Tensor) -> Tensor:
        shape = logits[..., 0, :, :, :].shape
        flat, k = logits.flatten(0, -5), k.long().expand(shape).flatten(0, -4)
        by_logits, by_rows = ctx.needs_input_grad[:2]
        result = flat.new_empty(k.shape)
        slopes = torch.empty_like(flat) if by_logits else None
        posterior = torch.empty_like(flat) if by_rows else None
        for block in blocks(len(flat), flat[:1].numel()):
            mixture = mixed(flat[block], _columns(log_rows, k[block]))
            result[block] = mixture.log_likelihood
            if posterior is not None:
                posterior[block] = mixture.posterior
            if slopes is not None:
                torch.sub(mixture.posterior, mixture.prior, out=slopes[block])
        ctx.save_for_backward(slopes, posterior, k)
        ctx.shape, ctx.levels = logits.shape, log_rows.shape[1]
        return result.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        slopes, posterior, k = ctx.saved_tensors
        grad = grad.flatten(0, -4).unsqueeze(-4)
        by_logits = None if slopes is None else (slopes * grad).view(ctx.shape)
        if posterior is None:
            return by_logits, None, None
        by_rows = grad.new_zeros(ctx.levels, posterior.shape[-4])
        for block in blocks(len(posterior), posterior[:1].numel()):
            weighted = (posterior[block] * grad[block]).movedim(-4, -1).flatten(0, -2)
            by_rows.index_add_(0, k[block].flatten(), weighted)
        return by_logits, by_rows.T, None


def _columns(log_rows: Tensor, k: Tensor) -> Tensor:
    """Return log_rows[j, k] with j along dimension 1."""
    return log_rows.index_select(1, k.flatten()).view(-1, *k.shape).movedim(0, 1)
