"""A linear VAE with a Gaussian likelihood is probabilistic PCA, whose optimum is known in closed form.

Tipping & Bishop 1999; Lucas et al. 2019, "Don't blame the ELBO!". Trained on the density at k / (K-1) of
scikit-learn's 1,797 digits, 64 pixels.
"""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal

from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.gaussian import Gaussian, LearnedGaussian
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.objectives import ELBO, IWAE
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training import Trainer, Training

SETTINGS = Training(
    epochs=60,
    batch_size=64,
    evaluation_batch_size=2000,
    schedule="cosine",
    warmup_steps=10,
    clip_norm=None,
    patience=None,
    keep="best",
    precision="float32",
    matmul="highest",
    grid_epochs=60,
)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return torch.from_numpy(load_digits().data.astype("uint8")).reshape(-1, 1, 8, 8)


def covariance_eigenvalues(levels: torch.Tensor, native: int) -> torch.Tensor:
    x = levels.flatten(1).double() / native
    return torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)


def trained(likelihood: Likelihood, latent_dim: int, digits: torch.Tensor) -> VAE:
    with seeded(0, "weights"):
        model = VAE(linear((1, 8, 8), latent_dim, 1), likelihood, latent_dim)
    adam = torch.optim.Adam(model.parameters(), lr=0.03)
    trainer = Trainer(model, ELBO(1.0, 0), adam, SETTINGS, lambda epoch: digits, digits[:100], 0)
    assert len(list(trainer.epochs())) == SETTINGS.epochs
    return model


def test_optimum_is_probabilistic_pca(digits: torch.Tensor) -> None:
    latent_dim, x = 3, digits.flatten(1).double() / 16
    likelihood = LearnedGaussian(levels=17, channels=1, sigma=0.3)
    model = trained(likelihood, latent_dim, digits)

    eigenvalues = covariance_eigenvalues(digits, 16)
    discarded = eigenvalues[latent_dim:].mean().item()
    kept = eigenvalues[:latent_dim].log().sum().item()
    optimum = -0.5 * (64 * math.log(2 * math.pi) + kept + (64 - latent_dim) * math.log(discarded) + 64)
    # scikit-learn divides by N - 1 where maximum likelihood divides by N
    assert PCA(latent_dim).fit(x).score(x) == pytest.approx(optimum, abs=1e-3)

    weight, bias = model.decoder[0].weight.detach().double(), model.decoder[0].bias.detach().double()
    variance = likelihood.scale.of(()).item() ** 2
    covariance = weight @ weight.T + variance * torch.eye(64, dtype=torch.float64)
    reached = MultivariateNormal(bias, covariance).log_prob(x).mean().item()
    # nats per image, of about 11 that separate no latent from three; what Adam's noise leaves open
    assert optimum - 0.05 < reached <= optimum + 1e-9
    assert variance == pytest.approx(discarded, rel=0.01)

    with torch.no_grad():
        elbos = [ELBO(1.0, 0)(model, digits, generator(i, "n"), 1).elbo.mean() for i in range(20)]
    assert optimum - 0.15 < torch.stack(elbos).mean().item() < optimum + 0.02


@pytest.fixture
def optimal(digits: torch.Tensor) -> VAE:
    """The linear VAE whose weights are set to the closed form (Tipping & Bishop 1999, equations 7 and 8)."""
    x, latent_dim = digits.flatten(1).double() / 16, 3
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    kept, directions = values[-latent_dim:], vectors[:, -latent_dim:]
    variance = values[:-latent_dim].mean()
    stretch = (kept - variance).sqrt()
    model = VAE(linear((1, 8, 8), latent_dim, 1), Gaussian(17, 1, sigma=variance.sqrt().item()), latent_dim)
    encoder, decoder = model.encoder[1], model.decoder[0]
    to_mean = (stretch / kept)[:, None] * directions.T
    with torch.no_grad():
        decoder.weight.copy_(directions * stretch)
        decoder.bias.copy_(x.mean(0))
        encoder.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
        encoder.bias.copy_(torch.cat([-to_mean @ x.mean(0), 0.5 * (variance / kept).log()]))
    return model


def test_at_the_optimum_one_sample_gives_log_p(digits: torch.Tensor, optimal: VAE) -> None:
    """Where q(z | x) is the posterior every importance weight is p(x), so each bound is exact."""
    score = PCA(3).fit(digits.flatten(1).double() / 16).score(digits.flatten(1).double() / 16)
    with torch.no_grad():
        for samples in (1, 4):
            bound = -IWAE(samples)(optimal, digits, generator(0, "n"), 1).loss
            assert bound.item() == pytest.approx(score, abs=1e-3)


def test_at_the_optimum_a_latent_carries_half_the_log_of_eigenvalue_over_variance(
    digits: torch.Tensor, optimal: VAE
) -> None:
    with torch.no_grad():
        measured = Latents(threshold=0.01, batch_size=2000)(optimal, digits, generator(0, "m"))
    eigenvalues, variance = covariance_eigenvalues(digits, 16)[:3], optimal.likelihood.scale.value.item() ** 2
    expected = (0.5 * (eigenvalues / variance).log()).flip(0).tolist()
    assert measured.values["kl_per_latent_nats"] == pytest.approx(expected, abs=1e-4)
    assert measured.values["active_units"] == 3


def test_no_step_from_the_optimum_is_uphill(digits: torch.Tensor, optimal: VAE) -> None:
    """The gradient of the ELBO vanishes there, up to the noise of the samples."""
    parameters = [*optimal.parameters()]
    gradients = []
    for index in range(100):
        optimal.zero_grad()
        ELBO(1.0, 0)(optimal, digits, generator(index, "n"), 1).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in parameters]))  # type: ignore[union-attr]
    stacked = torch.stack(gradients).double()
    error = stacked.std(0) / 100**0.5
    assert (stacked.mean(0).abs() < 6 * error + 1e-4).all()
