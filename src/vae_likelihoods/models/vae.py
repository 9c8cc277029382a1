"""The variational autoencoder (Kingma & Welling 2014): prior, posterior, decoder and likelihood."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from typing_extensions import override

from vae_likelihoods.likelihoods.base import Likelihood, TrainedOn
from vae_likelihoods.likelihoods.tensors import differentiable, wide
from vae_likelihoods.models import blocks
from vae_likelihoods.models.base import Autocast, Model
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


class VAE(Model):
    """p(x, z) = N(z; 0, I) p(x | z) with q(z | x) = N(mean(x), diag(scale(x)^2)).

    Args:
        networks: encoder and decoder.
        likelihood: p(x | z) over the K levels of a pixel.
        latent_dim: L, the size of z.
    """

    def __init__(self, networks: Networks, likelihood: Likelihood, latent_dim: int) -> None:
        super().__init__(likelihood.levels, likelihood.channels)
        self.encoder, self.decoder = networks
        self.likelihood = likelihood
        self.latent_dim = latent_dim

    @override
    def summary(self) -> dict[str, float]:
        """Return the likelihood's parameters that all pixels share."""
        return self.likelihood.summary()

    @property
    @override
    def trained_on(self) -> TrainedOn:
        """What the likelihood is trained on."""
        return self.likelihood.trained_on

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

    def forward(self, levels: Tensor) -> Tensor:
        """Return the likelihood's parameters [B, P*C, H, W] at the posterior's mean."""
        return self.decode(self.posterior(levels).mean)

    @override
    def parts(self, levels: Tensor, noise: torch.Generator, autocast: Autocast) -> tuple[Tensor, Tensor]:
        """Return distortion and rate, [B], from one draw of z for each image."""
        with autocast():
            posterior = blocks.encoded(self, levels)
        rate = self.rate_per_latent(posterior).sum(-1)
        z, at_once = reparameterised(posterior, noise), blocks.images_decoded_at_once(self)
        distortion = []
        for part, scored in zip(z.split(at_once), levels.split(at_once), strict=True):
            with autocast():
                outputs = self.decode(part)
            distortion.append(-self.likelihood.log_mass(outputs, scored))
        return torch.cat(distortion), rate

    def latents(self, count: int, noise: torch.Generator) -> Tensor:
        """Return z drawn from the prior, [count, L]."""
        return standard_normal((count, self.latent_dim), noise, self.dtype)

    @override
    def draw(self, count: int, noise: torch.Generator) -> Tensor:
        """Return levels of z from the prior and x from p(x | z): uint8 [count, C, H, W]."""
        return blocks.drawn(self, self.latents(count, noise), noise)

    @override
    def preview(self, count: int, noise: torch.Generator) -> Tensor:
        """Return the mean of the likelihood at z from the prior: points [count, C, H, W]."""
        return blocks.means(self, self.latents(count, noise))

    @override
    def reconstruct(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Return the mean of the likelihood at the posterior's mean: points [B, C, H, W]."""
        return blocks.means(self, blocks.encoded(self, levels).mean)


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
