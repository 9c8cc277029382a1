"""Formulas on every pixel, with their derivatives, in one pass.

The log-mass of a family is a long chain of cheap operations. Autograd would keep the inputs of each of them
and walk through all of them again. Here a formula returns value and derivatives together, a few images at a
time, so that intermediate results stay in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vae_likelihoods.likelihoods.tensors import differentiable

BLOCK = 1 << 16  # numbers: 256 kB in float32


class Values(NamedTuple):
    """What a formula returns for each pixel: its value and the derivatives."""

    value: Tensor  # [B, C, H, W]
    slopes: Sequence[Tensor] = ()  # by each of the decoder's numbers, [B, C, H, W] or [B, M, C, H, W]
    by_shared: Tensor | None = None  # by the number that all pixels share


Formula = Callable[[bool, Sequence[Tensor], Tensor | None, Tensor], Values]
"""(with slopes?, the decoder's numbers, what all pixels share, levels k) -> `Values`; overwrites none."""


def pointwise(
    formula: Formula, outputs: Tensor, k: Tensor, shared: Tensor | None = None, components: int | None = None
) -> Tensor:
    """Return the values of `formula`, [..., B, C, H, W], differentiable once by `outputs` and `shared`.

    Args:
        formula: works pixel by pixel.
        outputs: [..., B, P, C, H, W]; the formula gets P tensors [B, C, H, W].
        k: levels, broadcastable to [..., B, C, H, W].
        shared: a 0-dimensional tensor.
        components: M, and the formula gets P / M tensors [B, M, C, H, W], and levels [B, 1, C, H, W].
    """
    return differentiable(_Pointwise, outputs, shared, formula, k, components)


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, shared: Tensor | None, formula: Formula, k: Tensor, components: int | None
    ) -> Tensor:
        shape = outputs[..., 0, :, :, :].shape
        flat, k = outputs.flatten(0, -5), k.expand(shape).flatten(0, -4)
        with_slopes, with_shared = ctx.needs_input_grad[:2]
        value = flat.new_empty(k.shape)
        slopes = torch.empty_like(flat) if with_slopes else None
        by_shared = torch.empty_like(value) if with_shared else None
        for block in blocks(len(flat), k[:1].numel() * (components or 1)):
            levels = k[block] if components is None else k[block].unsqueeze(-4)
            values = formula(with_slopes or with_shared, _parts(flat[block], components), shared, levels)
            value[block] = values.value
            if slopes is not None:
                for part, slope in zip(_parts(slopes[block], components), values.slopes, strict=True):
                    part.copy_(slope)
            if by_shared is not None and values.by_shared is not None:
                by_shared[block] = values.by_shared
        ctx.save_for_backward(slopes, by_shared)
        ctx.outputs_shape = outputs.shape
        return value.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes, by_shared = ctx.saved_tensors
        grad = grad.flatten(0, -4)
        by_outputs = None if slopes is None else (slopes * grad.unsqueeze(-4)).view(ctx.outputs_shape)
        return by_outputs, None if by_shared is None else (by_shared * grad).sum(), None, None, None


def _parts(outputs: Tensor, components: int | None) -> Sequence[Tensor]:
    if components is None:
        return outputs.unbind(-4)
    return torch.unflatten(outputs, -4, (-1, components)).unbind(-5)


def blocks(count: int, size: int) -> list[slice]:
    """Return slices of `count` items of `size` numbers each, equally long and of about `BLOCK` numbers.

    Example:
        >>> blocks(5, BLOCK // 2)
        [slice(0, 3, None), slice(3, 6, None)]
    """
    step = max(1, math.ceil(count / max(1, round(count * size / BLOCK))))
    return [slice(start, start + step) for start in range(0, count, step)]
