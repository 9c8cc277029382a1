"""Bounds on log p(x) against quadrature over a grid of latents, and arithmetic with known answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.distributions import Normal

from vae_likelihoods.bounds import effective_sample_size, importance_samples, importance_weighted_bound
from vae_likelihoods.build import build
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

SHAPE, LEVELS, IMAGES = (1, 2, 3), 4, 5
LIKELIHOODS = sorted((Path(__file__).parents[1] / "conf" / "likelihood").glob("*.yaml"))


def model_with(latent_dim: int, likelihood: torch.nn.Module, outputs: int) -> VAE:
    torch.manual_seed(3)
    model = VAE(mlp(SHAPE, latent_dim, outputs, hidden=[16]), likelihood, latent_dim)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(2.5)  # a decoder that depends on its latents
    return model


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def levels() -> torch.Tensor:
    return torch.randint(LEVELS, (IMAGES, *SHAPE), generator=generator(0, "levels"), dtype=torch.uint8)


def quadrature(model: VAE, levels: torch.Tensor) -> torch.Tensor:
    """log p(x) [B] by the trapezium rule on a grid of latents from -8 to 8, float64."""
    points = 2001 if model.latent_dim == 1 else 401
    axis = torch.linspace(-8, 8, points)
    z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, 1, model.latent_dim)
    log_prior = Normal(0.0, 1.0).log_prob(z).double().sum(-1)
    log_joint = log_prior + model.likelihood.log_mass(model.decode(z), levels).double()
    return torch.logsumexp(log_joint, 0) + model.latent_dim * math.log(16 / (points - 1))


def bounds(model: VAE, levels: torch.Tensor, samples: int, draws: int) -> torch.Tensor:
    """Independent bounds [draws, B]."""
    found = []
    for index in range(draws):
        drawn = importance_samples(model, levels, samples, generator(index, "noise"), 100_000)
        found.append(importance_weighted_bound(drawn.log_likelihood + drawn.log_ratio))
    return torch.stack(found)


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("path", LIKELIHOODS, ids=lambda path: path.stem)
def test_bound_with_many_samples_is_log_p(path: Path, latent_dim: int) -> None:
    levels_of_family = 2 if path.stem == "bernoulli" else LEVELS
    node = OmegaConf.to_container(OmegaConf.load(path))
    likelihood = build("likelihood", node, levels=levels_of_family, channels=1)
    model = model_with(latent_dim, likelihood, likelihood.output_channels)
    shape, draw = (IMAGES, *SHAPE), generator(0, "levels")
    levels = torch.randint(levels_of_family, shape, generator=draw, dtype=torch.uint8)
    drawn = importance_samples(model, levels, 50_000, generator(0, "noise"), 100_000)
    log_weights = drawn.log_likelihood + drawn.log_ratio
    size = effective_sample_size(log_weights)
    assert (size > 100).all()
    # the standard error of log mean w is sqrt(1 / ESS - 1 / k)
    error = importance_weighted_bound(log_weights) - quadrature(model, levels)
    assert (error.abs() < 5 * (1 / size - 1 / 50_000).sqrt() + 1e-3).all()


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_bound_comes_from_below_and_rises_with_k(latent_dim: int, levels: torch.Tensor) -> None:
    model = model_with(latent_dim, BetaBinomial(LEVELS, 1), outputs=2)
    log_p = quadrature(model, levels).mean()
    means = [bounds(model, levels, samples, draws=150).mean() for samples in (1, 4, 16, 128)]
    for lower, higher in itertools.pairwise([*means, log_p]):
        assert lower < higher
    assert log_p - means[0] > 5 * (log_p - means[-1])


def test_log_likelihood_and_log_ratio_are_the_model_s(levels: torch.Tensor) -> None:
    model = model_with(2, BetaBinomial(LEVELS, 1), outputs=2)
    drawn = importance_samples(model, levels, 16, generator(0, "noise"), 100_000)
    posterior = model.posterior(levels)
    z = posterior.mean + posterior.stddev * torch.randn(16, IMAGES, 2, generator=generator(0, "noise"))
    torch.testing.assert_close(drawn.log_likelihood, model.likelihood.log_mass(model.decode(z), levels))
    ratio = (Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(-1)
    torch.testing.assert_close(drawn.log_ratio, ratio)
    torch.testing.assert_close(drawn.rate, model.rate_per_latent(posterior).sum(-1))


@pytest.mark.parametrize("at_once", [1, 4 * 8, 100_000])
def test_decoding_in_blocks_of_whole_noise_vectors_changes_nothing(at_once: int) -> None:
    """8 images x 2 latents = 16 numbers a sample: torch fills noise in blocks of 16, so the draws agree."""
    model = model_with(2, BetaBinomial(LEVELS, 1), outputs=2)
    levels = torch.randint(LEVELS, (8, *SHAPE), generator=generator(1, "levels"), dtype=torch.uint8)
    whole = importance_samples(model, levels, 10, generator(0, "noise"), 10 * 8)
    blocks = importance_samples(model, levels, 10, generator(0, "noise"), at_once)
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(one, other)


def test_other_blocks_give_other_noise_and_the_same_bound_within_it(levels: torch.Tensor) -> None:
    model = model_with(1, BetaBinomial(LEVELS, 1), outputs=2)
    found = []
    for at_once in (7, 100_000):  # blocks of one sample, and one block
        drawn = importance_samples(model, levels, 1000, generator(0, "noise"), at_once)
        assert drawn.log_likelihood.shape == drawn.log_ratio.shape == (1000, IMAGES)
        found.append(importance_weighted_bound(drawn.log_likelihood + drawn.log_ratio))
    assert not torch.equal(*found)
    torch.testing.assert_close(*found, atol=0.3, rtol=0)


@pytest.mark.parametrize("at_once", [1, 3, 14, 1000])
def test_no_more_images_than_asked_are_decoded_together(at_once: int, levels: torch.Tensor) -> None:
    model, seen = model_with(1, BetaBinomial(LEVELS, 1), outputs=2), []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    importance_samples(model, levels, 7, generator(0, "noise"), at_once)
    assert sum(seen) == 7 * IMAGES
    assert max(seen) <= max(at_once, IMAGES)  # one sample of a batch is the least


def test_images_are_encoded_once(levels: torch.Tensor) -> None:
    model, calls = model_with(1, BetaBinomial(LEVELS, 1), outputs=2), []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    importance_samples(model, levels, 9, generator(0, "noise"), 5)
    assert len(calls) == 1


def test_bound_of_known_weights() -> None:
    log_weights = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).log()
    expected = torch.tensor([2.0, 3.5], dtype=torch.float64).log()
    torch.testing.assert_close(importance_weighted_bound(log_weights), expected, atol=1e-7, rtol=0)


def test_bound_does_not_overflow() -> None:
    log_weights = torch.tensor([[-5000.0, 5000.0], [-5000.0, 5000.0]])
    assert importance_weighted_bound(log_weights).tolist() == pytest.approx([-5000.0, 5000.0])


@pytest.mark.parametrize("level", [-3000.0, 0.0, 800.0])
def test_effective_sample_size_of_equal_weights_is_k(level: float) -> None:
    sizes = effective_sample_size(torch.full((37, 2), level))
    torch.testing.assert_close(sizes, torch.full((2,), 37.0, dtype=torch.float64))


def test_effective_sample_size_of_one_dominating_weight_is_1() -> None:
    log_weights = torch.zeros(50, 3)
    log_weights[17] = 200.0
    torch.testing.assert_close(effective_sample_size(log_weights), torch.ones(3, dtype=torch.float64))


def test_effective_sample_size_of_known_weights() -> None:
    size = effective_sample_size(torch.tensor([[1.0], [2.0], [3.0]]).log())
    torch.testing.assert_close(size, torch.tensor([36 / 14], dtype=torch.float64), atol=1e-6, rtol=0)


def test_effective_sample_size_is_between_1_and_k() -> None:
    sizes = effective_sample_size(5 * torch.randn(20, 1000, generator=generator(0, "w")))
    assert sizes.min() >= 1
    assert sizes.max() <= 20
