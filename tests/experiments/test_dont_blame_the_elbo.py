"""A linear VAE on images whose covariance is known: latents die where sigma^2 passes an eigenvalue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from families import gaussian
from vae_likelihoods.experiments.dont_blame_the_elbo import active_latents, eigenvalues, optimal_rate_nats
from vae_likelihoods.files import PROJECT
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.training.trainer import Trainer

STRETCH = (1.0, 0.7, 0.5, 0.35)  # standard deviations along four orthogonal directions; else 0
LATENTS = 5


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """2000 images of 8x8 pixels, 256 levels, about 1/2."""
    rng = generator(0, "linear images")
    directions, _ = torch.linalg.qr(torch.randn(64, 64, generator=rng))
    z = torch.randn(2000, len(STRETCH), generator=rng)
    x = 0.5 + (z * torch.tensor(STRETCH)) @ directions[: len(STRETCH)]
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).reshape(-1, 1, 8, 8)


@pytest.fixture(scope="module")
def values(images: torch.Tensor) -> np.ndarray:
    return eigenvalues(images.flatten(1).double().numpy() / 255)


def test_eigenvalues_are_those_of_the_covariance(values: np.ndarray) -> None:
    assert values[:4] == pytest.approx(np.square(STRETCH), rel=0.1)
    assert (values[4:] < 0.01).all()  # what clamping leaves


@torch.no_grad()
def centre(model: VAE, images: torch.Tensor) -> None:
    """Let the mean image have z = 0, and z = 0 the mean image: to find that takes most of the training."""
    mean = images.flatten(1).double().mean(0) / 255
    encoder, decoder = model.encoder[1], model.decoder[0]
    encoder.bias.sub_(encoder.weight @ mean)
    decoder.bias.copy_(mean)


@pytest.mark.parametrize(("sigma", "live"), [(1.2, 0), (0.85, 1), (0.6, 2)])
def test_as_many_latents_live_as_eigenvalues_lie_above_sigma_squared(
    images: torch.Tensor, values: np.ndarray, sigma: float, live: int
) -> None:
    assert active_latents(values, sigma, LATENTS) == live
    with seeded(0, "weights"), default_dtype(torch.float64):
        model = VAE(linear((1, 8, 8), LATENTS, 1), gaussian(256, 1, scale=sigma), LATENTS).double()
    centre(model, images)
    default = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf" / "training" / "default.yaml"))
    assert isinstance(default, dict)
    settings = TrainingSettings.model_validate({**default, "epochs": 100, "batch_size": 200, "keep": "last"})
    adam = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in Trainer(model, ELBO(1.0, 0), adam, settings, lambda epoch: images, images[:10], 0).epochs():
        pass
    with torch.no_grad():
        posterior = model.posterior(images)
        rate = model.rate_per_latent(posterior).sum(-1).mean().item()
    assert int((posterior.mean.var(0) > 0.01).sum()) == live
    assert rate == pytest.approx(optimal_rate_nats(values, sigma, LATENTS), abs=0.05)


def test_the_optimal_rate_is_half_the_log_of_eigenvalue_over_variance() -> None:
    rate = optimal_rate_nats(np.array([8.0, 4.0, 1.0]), sigma=math.sqrt(2), latent_dim=3)
    assert rate == pytest.approx(0.5 * math.log(4) + 0.5 * math.log(2))
    assert optimal_rate_nats(np.array([8.0, 4.0]), math.sqrt(2), latent_dim=1) == pytest.approx(math.log(2))
    assert optimal_rate_nats(np.array([1.0]), sigma=2.0, latent_dim=1) == 0
