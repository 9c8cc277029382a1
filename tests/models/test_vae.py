"""The VAE: its points, its distributions, and decoding under leading sample dimensions."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.distributions import Normal, kl_divergence

from families import gaussian
from vae_likelihoods.cells.build import build, likelihoods_for
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.vae import LOG_SCALES, VAE, kept_within, reparameterised
from vae_likelihoods.networks.conv import conv
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

CONF = Path(__file__).parents[2] / "conf"
NETWORKS = sorted((CONF / "network").glob("*.yaml"))
LIKELIHOODS = [(name, levels) for levels in (2, 5) for name in likelihoods_for(levels)]


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    return VAE(mlp((1, 3, 4), 2, 1, hidden=[8]), gaussian(levels=5, channels=1), latent_dim=2)


@pytest.fixture
def levels() -> torch.Tensor:
    return torch.randint(5, (6, 1, 3, 4), generator=generator(0, "levels"), dtype=torch.uint8)


def test_points_are_k_over_k_minus_1(model: VAE) -> None:
    k = torch.arange(5, dtype=torch.uint8)
    points = model.points(k)
    assert points.dtype == torch.float32
    assert points.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_points_of_binary_images_are_the_images() -> None:
    model = VAE(mlp((1, 1, 2), 1, 1, hidden=[2]), Bernoulli(2, 1), latent_dim=1)
    assert model.points(torch.tensor([0, 1], dtype=torch.uint8)).tolist() == [0.0, 1.0]


def test_prior_is_standard_normal(model: VAE) -> None:
    z = torch.tensor([-1.5, 0.0, 2.0])
    torch.testing.assert_close(model.prior().log_prob(z), Normal(0.0, 1.0).log_prob(z))


def test_posterior_is_what_the_encoder_says(model: VAE, levels: torch.Tensor) -> None:
    encoded = model.encoder(levels.float() / 4)
    posterior = model.posterior(levels)
    torch.testing.assert_close(posterior.mean, encoded[:, :2])
    torch.testing.assert_close(posterior.stddev.log(), encoded[:, 2:])


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (1, 1, 2)])
def test_leading_sample_dimensions_decode_like_a_loop(leading: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    model = VAE(conv((3, 5, 4), 2, 6, widths=[4], hidden=8), gaussian(4, 3), latent_dim=2)
    z = torch.randn(*leading, 6, 2)
    decoded = model.decode(z)
    assert decoded.shape == (*leading, 6, 6, 5, 4)
    for index in itertools.product(*map(range, leading)):
        torch.testing.assert_close(decoded[index], model.decoder(z[index]))


def test_rate_per_latent_is_the_closed_form(model: VAE, levels: torch.Tensor) -> None:
    posterior = model.posterior(levels)
    mean, variance = posterior.mean, posterior.variance
    by_hand = 0.5 * (mean.square() + variance - 1 - variance.log())
    rate = model.rate_per_latent(posterior)
    assert rate.shape == (6, 2)
    torch.testing.assert_close(rate, by_hand)
    torch.testing.assert_close(rate, kl_divergence(posterior, Normal(0.0, 1.0)))
    assert (rate > 0).all()


@pytest.mark.parametrize("value", [-1e4, -300.0, -50.0, -10.1, -9.9, 0.0, 30.0, 41.0, 1e3])
def test_no_scale_makes_a_rate_infinite_and_descent_leads_back(model: VAE, value: float) -> None:
    levels = torch.zeros((1, 1, 3, 4), dtype=torch.uint8)
    last = [module for module in model.encoder.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.5, -0.5, value, value]))
    posterior = model.posterior(levels)
    rate = model.rate_per_latent(posterior)
    z = reparameterised(posterior, generator(0, "z"), 1000)
    assert rate.isfinite().all()
    assert posterior.log_prob(z).isfinite().all()
    low, high = LOG_SCALES
    inside = min(max(value, low), high)
    assert torch.allclose(posterior.stddev.log(), torch.full((1, 2), inside), atol=1e-5)
    # The KL alone wants the scale 1: from wherever it is, a step of descent goes there.
    rate.sum().backward()
    assert last.bias.grad is not None
    slope = last.bias.grad[2:]
    assert slope.isfinite().all()
    assert (slope * value >= 0).all()
    assert (slope != 0).all() == (value != 0)


@pytest.mark.parametrize("mean", [0.0, 1.0, -7.9])
def test_draws_at_the_smallest_scale_have_the_density_that_is_said(mean: float) -> None:
    """E[log q(z)] is minus the entropy, and E[1 / q(z)] over a range of z is its length."""
    scale = math.exp(LOG_SCALES[0])
    posterior = Normal(torch.full((1, 1), mean), torch.full((1, 1), scale), validate_args=False)
    z = reparameterised(posterior, generator(0, "z"), 200_000)
    logs = posterior.log_prob(z).double()
    entropy = 0.5 + math.log(scale) + 0.5 * math.log(2 * math.pi)
    assert logs.mean().item() == pytest.approx(-entropy, abs=0.02)
    near = (z.double() - mean).abs() < 2 * scale
    assert ((-logs).exp() * near).mean().item() == pytest.approx(4 * scale, rel=0.03)


def test_inside_the_encoder_is_taken_at_its_word_to_the_last_bit() -> None:
    values = torch.linspace(-9.9, 39.9, 1001, requires_grad=True)
    kept = kept_within(values, *LOG_SCALES)
    assert torch.equal(kept, values)
    kept.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))


def test_rate_is_zero_where_the_posterior_is_the_prior(model: VAE) -> None:
    assert model.rate_per_latent(Normal(torch.zeros(2, 3), torch.ones(2, 3))).tolist() == [[0.0] * 3] * 2


def test_rate_is_the_mean_log_ratio_of_samples(model: VAE, levels: torch.Tensor) -> None:
    posterior = model.posterior(levels)
    z = reparameterised(posterior, generator(0, "z"), 40_000)
    ratio = (posterior.log_prob(z) - model.prior().log_prob(z)).mean(0)
    torch.testing.assert_close(ratio, model.rate_per_latent(posterior), atol=0.03, rtol=0)


def test_reparameterised_moments_and_independence() -> None:
    posterior = Normal(torch.tensor([[1.0, -2.0], [0.0, 5.0]]), torch.tensor([[0.5, 2.0], [1.0, 0.1]]))
    z = reparameterised(posterior, generator(0, "z"), 100_000)
    assert z.shape == (100_000, 2, 2)
    # 5 standard errors of a mean, and of a standard deviation
    assert ((z.mean(0) - posterior.mean).abs() < 5 * posterior.stddev / 100_000**0.5).all()
    assert ((z.std(0) / posterior.stddev - 1).abs() < 5 / 200_000**0.5).all()
    correlation = torch.corrcoef(z.flatten(1).T) - torch.eye(4)
    assert correlation.abs().max() < 5 / 100_000**0.5


def test_reparameterised_lets_gradients_through() -> None:
    mean, log_scale = torch.zeros(4, 2, requires_grad=True), torch.zeros(4, 2, requires_grad=True)
    z = reparameterised(Normal(mean, log_scale.exp()), generator(0, "z"))
    assert z.shape == (4, 2)
    z.sum().backward()
    assert mean.grad is not None
    assert log_scale.grad is not None
    torch.testing.assert_close(mean.grad, torch.ones(4, 2))
    torch.testing.assert_close(log_scale.grad, z.detach())  # scale 1, mean 0: dz/dlog s = noise = z


@pytest.mark.parametrize("make", [VAE.draw, VAE.preview])
def test_samples_come_from_the_generator_alone(model: VAE, make: Any) -> None:
    first, again, other = (make(model, 7, generator(seed, "s")) for seed in (0, 0, 1))
    assert first.shape == (7, 1, 3, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("name", "levels"), LIKELIHOODS)
def test_every_network_goes_with_every_likelihood(network: Path, name: str, levels: int) -> None:
    def node(path: Path) -> dict[str, object]:
        return dict(OmegaConf.load(path))

    likelihood = build("likelihood", node(CONF / "likelihood" / f"{name}.yaml"), levels=levels, channels=3)
    networks = build(
        "network", node(network), shape=(3, 8, 8), latent_dim=2, output_channels=likelihood.output_channels
    )
    model = VAE(networks, likelihood, latent_dim=2)
    k = torch.randint(levels, (4, 3, 8, 8), generator=generator(0, "k"), dtype=torch.uint8)
    mass = likelihood.log_mass(model.decode(reparameterised(model.posterior(k), generator(0, "z"), 3)), k)
    assert mass.shape == (3, 4)
    assert mass.isfinite().all()
    assert (mass <= 0).all()
