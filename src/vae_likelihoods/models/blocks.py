"""What a trained model computes for many images, in blocks whose memory is bounded whatever their shape.

The size of a block follows from the model and the shape of an image alone. All z are drawn before, so another
size gives the same numbers but for their last digits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.tensors import differentiable

BYTES = 5 << 28  # of the tensors of one block; grey images of 28 x 28 then need one for 4096 of any mixture
# What a likelihood holds at once, at most: tensors as large as the decoder's outputs, and as an image.
OF_OUTPUTS, OF_IMAGES = 4, 16
WITH_GRADIENT = 3  # times the memory
_NUMBERS: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()  # of networks that were counted


class Autoencoder(Protocol):
    """What is asked of a VAE here, which lies above."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
    latent_dim: int

    @property
    def dtype(self) -> torch.dtype:
        """See `VAE`, as for all below."""

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def points(self, levels: Tensor) -> Tensor: ...  # noqa: D102

    def posterior(self, levels: Tensor) -> Normal: ...  # noqa: D102

    def decode(self, z: Tensor) -> Tensor: ...  # noqa: D102


def encoded(model: Autoencoder, levels: Tensor) -> Normal:
    """Return q(z | x) of levels [B, C, H, W], with mean and scale [B, L]."""
    parts = [model.posterior(part) for part in levels.split(images_encoded_at_once(model, levels))]
    if len(parts) == 1:
        return parts[0]
    mean, scale = (torch.cat([getattr(part, name) for part in parts]) for name in ("mean", "stddev"))
    return Normal(mean, scale, validate_args=False)


def log_mass(model: Autoencoder, z: Tensor, levels: Tensor, rows: int | None = None) -> Tensor:
    """Return log p(x | z), [S, B], of levels [B, C, H, W] at z [S, B, L]; differentiable once, by z alone.

    Args:
        model: a VAE.
        z: latents; one for all images will do.
        levels: images.
        rows: how many of their rows count, from the top; None: all.
    """
    gradient = torch.is_grad_enabled() and z.requires_grad
    held = images_decoded_at_once(model) // (WITH_GRADIENT if gradient else 1)
    images = max(1, min(held, len(levels)))
    draws = max(1, held // images)

    def of_block(z: Tensor, levels: Tensor) -> Tensor:
        return model.likelihood.log_mass(model.decode(z)[..., :rows, :], levels[..., :rows, :])

    if z.shape[0] <= draws and z.shape[1] <= images:
        return of_block(z, levels)
    z = z.expand(-1, len(levels), -1)  # one z may be for all images
    blocks = [
        (slice(draw, draw + draws), slice(image, image + images))
        for draw in range(0, z.shape[0], draws)
        for image in range(0, z.shape[1], images)
    ]
    return differentiable(_InBlocks, z, levels, of_block, blocks)


class _InBlocks(torch.autograd.Function):
    """A function of z [S, B, L] and levels [B, ...], each value of its own z; finds the slopes at once."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        levels: Tensor,
        function: Callable[[Tensor, Tensor], Tensor],
        blocks: Sequence[tuple[slice, slice]],
    ) -> Tensor:
        values = z.new_empty(z.shape[:-1])
        slopes = torch.empty_like(z) if ctx.needs_input_grad[0] else None
        for draws, images in blocks:
            part = z[draws, images].detach().requires_grad_(slopes is not None)
            with torch.set_grad_enabled(slopes is not None):
                value = function(part, levels[images])
                values[draws, images] = value.detach()
                if slopes is not None:
                    (slopes[draws, images],) = torch.autograd.grad(value.sum(), part)
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return grad.unsqueeze(-1) * slopes, None, None, None


def means(model: Autoencoder, z: Tensor) -> Tensor:
    """Return E[x | z], [B, C, H, W] in [0, 1], at z [B, L]."""
    parts = z.split(images_decoded_at_once(model))
    return torch.cat([model.likelihood.mean(model.decode(part)) for part in parts])


def drawn(model: Autoencoder, z: Tensor, noise: torch.Generator) -> Tensor:
    """Return levels [B, C, H, W] that are drawn from p(x | z) at z [B, L], block after block."""
    parts = z.split(images_decoded_at_once(model))
    return torch.cat([model.likelihood.sample(model.decode(part), noise) for part in parts])


def images_decoded_at_once(model: Autoencoder) -> int:
    """Return how many z may be decoded and scored at once, at least 1."""
    z = torch.zeros((1, model.latent_dim), dtype=model.dtype, device=model.device)
    outputs, inside = _numbers_of(model.decoder, z)
    image = outputs // model.likelihood.output_channels * model.likelihood.channels
    return _that_fit(inside + OF_OUTPUTS * outputs + OF_IMAGES * image, z)


def images_encoded_at_once(model: Autoencoder, levels: Tensor) -> int:
    """Return how many images may be encoded at once, at least 1."""
    points = model.points(levels[:1])
    outputs, inside = _numbers_of(model.encoder, points)
    return _that_fit(outputs + inside + 2 * points.numel(), points)


def _that_fit(numbers: int, like: Tensor) -> int:
    """Return how many times so many numbers fit into `BYTES`, at least once."""
    return max(1, BYTES // (numbers * like.element_size()))


def _numbers_of(network: nn.Module, one: Tensor) -> tuple[int, int]:
    """Return how many numbers a network makes of a batch of one, and how many its modules return before."""
    if network not in _NUMBERS:
        sizes: list[int] = []
        copied = copy.deepcopy(network).eval()  # a forward pass may change a module, such as a batch norm
        for module in copied.modules():
            module._forward_hooks.clear()  # those of the user are not for the copy
            if not list(module.children()):
                module.register_forward_hook(lambda module, given, made: sizes.append(made.numel()))
        with torch.no_grad():
            outputs = copied(one).numel()
        _NUMBERS[network] = outputs, max(0, sum(sizes) - outputs)
    return _NUMBERS[network]
