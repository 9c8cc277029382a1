"""The variational autoencoder (Kingma & Welling 2014): prior, posterior, decoder and likelihood."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from vae_likelihoods.datasets.levels import require_levels
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.tensors import differentiable, wide
from vae_likelihoods.networks.base import Networks

LOG_SCALES = (-10.0, 40.0)
"""Between what the log of a posterior's scale is kept.

Below, a draw mean + scale * noise has too few digits left in float32: its log-density, and with it the bound
on log p(x), would be wrong by nats. Still lower the variance is 0, and the KL infinite. Above, its square is.
"""


def kept_within(values: Tensor, low: float, high: float) -> Tensor:
    """Return the values, those outside of [low, high] as the nearer end; once differentiable.

    The slope of a value outside is that at the end, if a step of descent would lead inside, else 0. So
    nothing gets stuck outside, and nothing runs away.
    """
    kept: Tensor = differentiable(_KeptWithin, values, low, high)
    return kept


class _KeptWithin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.ends = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (values,), (low, high), (slope,) = ctx.saved_tensors, ctx.ends, slopes
        outwards = ((values < low) & (slope > 0)) | ((values > high) & (slope < 0))
        return slope.masked_fill(outwards, 0.0), None, None


class VAE(nn.Module):
    """p(x, z) = N(z; 0, I) p(x | z) with q(z | x) = N(mean(x), diag(scale(x)^2)).

    Args:
        networks: encoder and decoder.
        likelihood: p(x | z) over the K levels of a pixel.
        latent_dim: L, the size of z.
    """

    def __init__(self, networks: Networks, likelihood: Likelihood, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder = networks
        self.likelihood = likelihood
        self.latent_dim = latent_dim

    def begin(self, train: Levels) -> None:
        """Set what depends on the train images, once, before the first step; nothing here."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, in which everything is computed."""
        return next(self.parameters()).dtype

    def require_levels(self, images: Tensor) -> None:
        """Refuse images that are no levels of this model: integers 0 .. K - 1, [B, C, H, W].

        For images that come from elsewhere, before they are scored or trained on; a step checks nothing.

        Raises:
            SettingError: says what they are, and what to do.
        """
        require_levels(images, self.likelihood.levels, self.likelihood.channels)

    def points(self, levels: Tensor) -> Tensor:
        """Return levels k [B, C, H, W] as the points k / (K - 1) in [0, 1] that the encoder sees."""
        points: Tensor = levels.to(self.dtype) / (self.likelihood.levels - 1)
        return points

    def prior(self) -> Normal:
        """Return p(z), one standard normal for every latent."""
        zero = next(self.parameters()).new_zeros(())
        return Normal(zero, zero + 1, validate_args=False)

    def posterior(self, levels: Tensor) -> Normal:
        """Return q(z | x) with mean and scale [B, L] for levels [B, C, H, W].

        The log of a scale is kept within `LOG_SCALES`, see there; inside, it is what the encoder says.
        """
        mean, log_scale = wide(self.encoder(self.points(levels))).chunk(2, dim=-1)
        return Normal(mean, kept_within(log_scale, *LOG_SCALES).exp(), validate_args=False)

    def decode(self, z: Tensor) -> Tensor:
        """Return the likelihood's parameters [..., P*C, H, W] for latents [..., L]."""
        outputs: Tensor = self.decoder(z.reshape(-1, self.latent_dim))
        return torch.unflatten(outputs, 0, z.shape[:-1])

    def rate_per_latent(self, posterior: Normal) -> Tensor:
        """Return KL(q(z_l | x) to p(z_l)) in nats, [B, L]."""
        return kl_divergence(posterior, self.prior())

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the likelihood's parameters [count, P*C, H, W] for latents drawn from the prior."""
        return self.decode(standard_normal((count, self.latent_dim), generator, self.dtype))


class Rows(NamedTuple):
    """The noise of some images of a batch, the same as when the whole batch is drawn at once."""

    generator: torch.Generator
    rows: slice
    batch: int  # B, the size of the whole batch


Noise = torch.Generator | Rows


def standard_normal(shape: tuple[int, ...], noise: Noise, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw standard normal noise [..., B, L] on the device of the generator."""
    if isinstance(noise, Rows):
        *samples, _, size = shape
        return standard_normal((*samples, noise.batch, size), noise.generator, dtype)[..., noise.rows, :]
    return torch.randn(shape, generator=noise, device=noise.device, dtype=dtype)


def reparameterised(posterior: Normal, noise: Noise, samples: int | None = None) -> Tensor:
    """Draw z ~ q(z | x): [B, L], or [S, B, L] for `samples` S; gradients reach mean and scale."""
    shape = posterior.mean.shape if samples is None else (samples, *posterior.mean.shape)
    return posterior.mean + posterior.stddev * standard_normal(tuple(shape), noise, posterior.mean.dtype)
