"""Probabilistic PCA: the linear Gaussian VAE, at the maximum of its likelihood in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.scales import SharedScale
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.precision import precise

MIN_SCALE = 0.25  # lower bound of sigma in bins of 1/K, as in the learned Gaussian
MOST = 4096  # dimensions: their covariance takes 128 MiB, and its eigenvectors a minute
AT_ONCE = 1024  # images that are added to the covariance together


class PPCA(VAE):
    """x = W z + mu + sigma noise on the points k / (K-1), with the W, mu and sigma of the largest likelihood.

    Tipping & Bishop (1999, https://doi.org/10.1111/1467-9868.00196): W = U_L (Lambda_L - sigma^2)^(1/2)
    (equation 7) of the L largest eigenvalues of the sample covariance, and sigma^2 the mean of the others
    (equation 8). With this W the posterior N(M^-1 W^T (x - mu), sigma^2 M^-1), M = W^T W + sigma^2 I, is
    diagonal, and the encoder gives it exactly. It is that of the density; scored is the mass over K levels,
    by a bound, as of any VAE.

    Sigma does not fall below a part of a bin; where this matters, W is the best for that sigma.

    Args:
        shape: C, H, W of the images, D numbers together.
        levels: K.
        latent_dim: L.

    Raises:
        SettingError: latent_dim is not below D, or D is above 4096.
    """

    fits_itself = True

    def __init__(self, shape: tuple[int, int, int], levels: int, latent_dim: int) -> None:
        dimensions, channels = math.prod(shape), shape[0]
        require(dimensions <= MOST, "shape", shape, f"has {dimensions} dimensions, more than {MOST}")
        require_count("latent_dim", latent_dim)
        reason = f"must be below the {dimensions} dimensions of an image, for noise to remain"
        require(latent_dim < dimensions, "latent_dim", latent_dim, reason)
        likelihood = LocationScale(levels, channels, Normal(), 1.0, MIN_SCALE, trained_on="density")
        super().__init__(linear(shape, latent_dim, channels), likelihood, latent_dim)
        self.dimensions = dimensions

    @property
    @override
    def parameter_count(self) -> int:
        """D L + D + 1 - L (L-1) / 2: a rotation of the latents changes nothing."""
        rotations = self.latent_dim * (self.latent_dim - 1) // 2
        return self.dimensions * self.latent_dim + self.dimensions + 1 - rotations

    @override
    @torch.no_grad()
    def fit(self, train: Tensor, validation: Tensor) -> bool:
        """Set all weights from the mean and the covariance of the train images; one pass is all."""
        mean, covariance = self._moments(train)
        values, vectors = torch.linalg.eigh(covariance)
        discarded = values[: -self.latent_dim].mean().clamp_min(0)
        variance = self._set_scale(discarded.sqrt()) ** 2
        # Below sigma^2 a direction carries nothing, and the posterior is the prior.
        kept = values[-self.latent_dim :].flip(0).clamp_min(variance)
        directions = _with_signs(vectors[:, -self.latent_dim :].flip(1))
        stretch = (kept - variance).sqrt()
        to_mean = (stretch / kept).unsqueeze(1) * directions.T
        log_scale = 0.5 * (variance / kept).log()
        encoder, decoder = self._layers()
        decoder.weight.copy_(directions * stretch)
        decoder.bias.copy_(mean)
        encoder.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
        encoder.bias.copy_(torch.cat([-to_mean @ mean, log_scale]))
        return True

    def log_density(self, levels: Tensor) -> Tensor:
        """Return the log-density N(x; mu, W W^T + sigma^2 I) at the points of images, [B] in nats."""
        _, decoder = self._layers()
        noise = (self._scale().of(()) ** 2).expand(self.dimensions)
        density = LowRankMultivariateNormal(decoder.bias, decoder.weight, noise, validate_args=False)
        log_density: Tensor = density.log_prob(self.points(levels).flatten(1))
        return log_density

    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean [D] and covariance [D, D] of the points, in float64; the sum over N is divided by N."""
        top = self.levels - 1
        mean = precise(images.sum(0, dtype=torch.int64)).flatten() / (top * len(images))
        covariance = torch.zeros(self.dimensions, self.dimensions, dtype=mean.dtype, device=mean.device)
        for part in images.split(AT_ONCE):
            centred = precise(part).flatten(1) / top - mean
            covariance.addmm_(centred.T, centred)
        return mean, covariance / len(images)

    def _set_scale(self, sigma: Tensor) -> Tensor:
        """Set the scale to sigma, or to just above its lower bound, and return it in float64."""
        scale = self._scale()
        scale.log_excess.copy_((sigma - scale.floor).clamp_min(1e-6 * scale.floor).log())
        return precise(scale.of(()))

    def _scale(self) -> SharedScale:
        assert isinstance(self.likelihood, LocationScale)
        assert isinstance(self.likelihood.scale, SharedScale)
        return self.likelihood.scale

    def _layers(self) -> tuple[nn.Linear, nn.Linear]:
        """Return the affine layers of encoder and decoder."""
        encoder, decoder = (
            next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
            for network in (self.encoder, self.decoder)
        )
        return encoder, decoder


def _with_signs(directions: Tensor) -> Tensor:
    """Return directions [D, L] whose largest number is positive: the sign of an eigenvector is arbitrary."""
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return directions * largest.sign()
