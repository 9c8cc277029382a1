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

from vae_likelihoods.cells.build import build
from vae_likelihoods.inference.bounds import (
    ImportanceSamples,
    RunningBound,
    effective_sample_size,
    importance_samples,
    importance_weighted,
    importance_weighted_bound,
)
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

SHAPE, LEVELS, IMAGES = (1, 2, 3), 4, 5
LIKELIHOODS = sorted((Path(__file__).parents[2] / "conf" / "likelihood").glob("*.yaml"))


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


def all_samples(
    model: VAE, levels: torch.Tensor, samples: int, noise: torch.Generator, decoded_at_once: int
) -> ImportanceSamples:
    """All blocks of draws from the encoder's q, joined."""
    posterior = model.posterior(levels)
    blocks = importance_samples(model, levels, posterior, samples, noise, decoded_at_once)
    return ImportanceSamples(*map(torch.cat, zip(*blocks, strict=True)))


def quadrature(model: VAE, levels: torch.Tensor) -> torch.Tensor:
    """log p(x) [B] by the trapezium rule on a grid of latents from -8 to 8, float64."""
    points = 2001 if model.latent_dim == 1 else 401
    axis = torch.linspace(-8, 8, points)
    z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, 1, model.latent_dim)
    log_prior = Normal(0.0, 1.0).log_prob(z).double().sum(-1)
    log_joint = log_prior + model.likelihood.log_mass(model.decode(z), levels).double()
    return torch.logsumexp(log_joint, 0) + model.latent_dim * math.log(16 / (points - 1))


def bounds(model: VAE, levels: torch.Tensor, samples: int, draws: int) -> torch.Tensor:
    """Return independent bounds [draws, B]."""
    results = []
    for index in range(draws):
        drawn = all_samples(model, levels, samples, generator(index, "noise"), 100_000)
        results.append(importance_weighted_bound(drawn.log_weights))
    return torch.stack(results)


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("path", LIKELIHOODS, ids=lambda path: path.stem)
def test_bound_with_many_samples_is_log_p(path: Path, latent_dim: int) -> None:
    levels_of_family = 2 if path.stem == "bernoulli" else LEVELS
    node = OmegaConf.to_container(OmegaConf.load(path))
    likelihood = build("likelihood", node, levels=levels_of_family, channels=1)
    model = model_with(latent_dim, likelihood, likelihood.output_channels)
    shape, draw = (IMAGES, *SHAPE), generator(0, "levels")
    levels = torch.randint(levels_of_family, shape, generator=draw, dtype=torch.uint8)
    drawn = all_samples(model, levels, 50_000, generator(0, "noise"), 100_000)
    log_weights = drawn.log_weights
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
    drawn = all_samples(model, levels, 16, generator(0, "noise"), 100_000)
    posterior = model.posterior(levels)
    z = posterior.mean + posterior.stddev * torch.randn(16, IMAGES, 2, generator=generator(0, "noise"))
    torch.testing.assert_close(drawn.log_likelihood, model.likelihood.log_mass(model.decode(z), levels))
    ratio = (Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(-1)
    torch.testing.assert_close(drawn.log_ratio, ratio)
    result = importance_weighted(model, levels, posterior, [16], generator(0, "noise"), 100_000)
    torch.testing.assert_close(result.rate, model.rate_per_latent(posterior).sum(-1).double())
    torch.testing.assert_close(result.log_likelihood, drawn.log_likelihood.double().mean(0))


@pytest.mark.parametrize("at_once", [1, 4 * 8, 100_000])
def test_decoding_in_blocks_of_whole_noise_vectors_changes_nothing(at_once: int) -> None:
    """8 images x 2 latents = 16 numbers a sample: torch fills noise in blocks of 16, so the draws agree."""
    model = model_with(2, BetaBinomial(LEVELS, 1), outputs=2)
    levels = torch.randint(LEVELS, (8, *SHAPE), generator=generator(1, "levels"), dtype=torch.uint8)
    whole = all_samples(model, levels, 10, generator(0, "noise"), 10 * 8)
    blocks = all_samples(model, levels, 10, generator(0, "noise"), at_once)
    for at_once_part, block_part in zip(whole, blocks, strict=True):
        torch.testing.assert_close(at_once_part, block_part)


def test_other_blocks_give_other_noise_and_the_same_bound_within_it(levels: torch.Tensor) -> None:
    model = model_with(1, BetaBinomial(LEVELS, 1), outputs=2)
    results = []
    for at_once in (7, 100_000):  # blocks of one sample, and one block
        drawn = all_samples(model, levels, 1000, generator(0, "noise"), at_once)
        assert drawn.log_likelihood.shape == drawn.log_ratio.shape == (1000, IMAGES)
        results.append(importance_weighted_bound(drawn.log_weights))
    assert not torch.equal(*results)
    torch.testing.assert_close(*results, atol=0.3, rtol=0)


@pytest.mark.parametrize("at_once", [1, 3, 14, 1000])
def test_no_more_images_than_asked_are_decoded_together(at_once: int, levels: torch.Tensor) -> None:
    model, sizes = model_with(1, BetaBinomial(LEVELS, 1), outputs=2), []
    model.decoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    all_samples(model, levels, 7, generator(0, "noise"), at_once)
    assert sum(sizes) == 7 * IMAGES
    assert max(sizes) <= max(at_once, IMAGES)  # a block has at least one sample of each image


@pytest.mark.parametrize("at_once", [1, 13, 64, 100_000])
def test_one_pass_over_blocks_is_the_bound_of_all_draws(at_once: int, levels: torch.Tensor) -> None:
    """Each k is the mean over its groups of draws, wherever the blocks end."""
    model, curve = model_with(2, BetaBinomial(LEVELS, 1), outputs=2), [1, 3, 7, 20]
    posterior = model.posterior(levels)
    result = importance_weighted(model, levels, posterior, curve, generator(0, "noise"), at_once)
    drawn = all_samples(model, levels, 20, generator(0, "noise"), at_once)
    for index, k in enumerate(curve):
        groups = drawn.log_weights.double()[: 20 // k * k].split(k)
        bound = torch.stack([importance_weighted_bound(group) for group in groups]).mean(0)
        size = torch.stack([effective_sample_size(group) for group in groups]).mean(0)
        torch.testing.assert_close(result.log_mean_weight[index], bound)
        torch.testing.assert_close(result.effective_sample_size[index], size)
    # k = 1 is the ELBO up to the noise in its rate
    torch.testing.assert_close(result.log_mean_weight[0], drawn.log_weights.double().mean(0))
    torch.testing.assert_close(result.elbo, drawn.log_likelihood.double().mean(0) - result.rate)


def test_the_curve_of_every_image_rises_where_each_k_divides_the_next(levels: torch.Tensor) -> None:
    model, curve = model_with(2, BetaBinomial(LEVELS, 1), outputs=2), [1, 2, 6, 30, 300]
    result = importance_weighted(model, levels, model.posterior(levels), curve, generator(0, "n"), 64)
    assert (result.log_mean_weight.diff(dim=0) > 0).all()


def test_groups_make_a_small_k_more_precise(levels: torch.Tensor) -> None:
    """k = 5 from 500 draws has about a tenth of the error that it has from 5."""
    model = model_with(2, BetaBinomial(LEVELS, 1), outputs=2)
    posterior = model.posterior(levels)
    spread = []
    for curve in ([5], [5, 500]):
        results = [
            importance_weighted(model, levels, posterior, curve, generator(i, "n"), 10_000).log_mean_weight[0]
            for i in range(40)
        ]
        spread.append(torch.stack(results).std(0))
    assert (spread[1] < 0.2 * spread[0]).all()
    assert (spread[1] > 0.05 * spread[0]).all()


@pytest.mark.parametrize("sizes", [[100], [1] * 100, [37, 3, 60], [99, 1]])
def test_running_bound_of_known_weights(sizes: list[int]) -> None:
    """Weights 1 .. 100 in groups of 100, whose mean is 50.5, and of 10: 5.5, 15.5, ..."""
    weights = torch.arange(1.0, 101.0, dtype=torch.float64)
    for k, expected in ((100, math.log(50.5)), (10, sum(math.log(5.5 + 10 * i) for i in range(10)) / 10)):
        running = RunningBound(k, 1, weights.device)
        for part in weights.log().unsqueeze(1).split(sizes):
            running.add(part)
        assert running.value.item() == pytest.approx(expected, rel=1e-12)
    running = RunningBound(100, 1, weights.device)
    running.add(weights.log().unsqueeze(1))
    assert running.effective_sample_size.item() == pytest.approx(5050**2 / 338350, rel=1e-12)


def test_a_running_bound_does_not_grow_with_k() -> None:
    running = RunningBound(10**9, 3, torch.device("cpu"))
    running.add(torch.zeros(1000, 3, dtype=torch.float64))

    def size() -> int:
        return sum(part.numel() for part in vars(running).values() if isinstance(part, torch.Tensor))

    assert size() == 4 * 3
    for _ in range(50):
        running.add(torch.zeros(1000, 3, dtype=torch.float64))
    assert size() == 4 * 3


def test_running_bounds_do_not_overflow() -> None:
    running = RunningBound(4, 2, torch.device("cpu"))
    running.add(torch.tensor([[-5000.0, 5000.0]] * 3, dtype=torch.float64))
    running.add(torch.tensor([[-5000.0, 5000.0]], dtype=torch.float64))
    assert running.value.tolist() == pytest.approx([-5000.0, 5000.0])
    assert running.effective_sample_size.tolist() == pytest.approx([4.0, 4.0])


def test_no_draw_encodes_again(levels: torch.Tensor) -> None:
    model, calls = model_with(1, BetaBinomial(LEVELS, 1), outputs=2), []
    posterior = model.posterior(levels)
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    importance_weighted(model, levels, posterior, [9], generator(0, "noise"), 5)
    assert not calls


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
