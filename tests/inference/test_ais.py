"""Annealed importance sampling against log p(x) that is known: in closed form, and by quadrature."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path as File
from typing import NamedTuple, get_args

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from vae_likelihoods.cells.build import build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.inference.ais import Annealing, Schedule, log_joint_of, prior_of, simulated
from vae_likelihoods.inference.bounds import effective_sample_size, importance_weighted_bound
from vae_likelihoods.inference.hmc import LogJoint, Path
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

SHAPE, LEVELS, IMAGES = (1, 2, 3), 4, 6
LIKELIHOODS = sorted((File(__file__).parents[2] / "conf" / "likelihood").glob("*.yaml"))
SCHEDULES = get_args(Schedule)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


class FactorAnalysis(NamedTuple):
    """x = W z + sigma e, so log p(x) and p(z | x) are Gaussian."""

    weight: Tensor  # [D, L]
    sigma: float
    x: Tensor  # [B, D]
    z: Tensor  # [B, L]  the latents that x was drawn from: exact draws of the posterior

    @classmethod
    def drawn(cls, images: int, sigma: float = 0.4) -> FactorAnalysis:
        noise = generator(0, "factors")
        weight = torch.randn(5, 2, generator=noise)
        z = torch.randn(images, 2, generator=noise)
        return cls(weight, sigma, z @ weight.T + sigma * torch.randn(images, 5, generator=noise), z)

    def log_p(self) -> Tensor:
        covariance = self.weight @ self.weight.T + self.sigma**2 * torch.eye(5)
        return MultivariateNormal(torch.zeros(5), covariance).log_prob(self.x)

    def path(self) -> Path:
        def log_joint(z: Tensor) -> Tensor:
            given_z = Normal(z @ self.weight.T, self.sigma).log_prob(self.x).sum(-1)
            return given_z + Normal(0.0, 1.0).log_prob(z).sum(-1)

        joint: LogJoint = log_joint
        return Path(Normal(torch.zeros(len(self.x), 2), torch.ones(len(self.x), 2)), joint)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("temperatures", [1, 2, 100])
def test_schedules_rise_from_0_to_1(schedule: Schedule, temperatures: int) -> None:
    betas = Annealing(1, temperatures, schedule, 1, 0.65).betas()
    assert len(betas) == temperatures + 1
    assert (betas[0], betas[-1]) == (0.0, pytest.approx(1.0))
    assert all(beta < next_beta for beta, next_beta in itertools.pairwise(betas))


def test_sigmoid_schedule_is_slow_at_both_ends_and_geometric_at_the_first() -> None:
    sigmoid = torch.tensor(Annealing(1, 100, "sigmoid", 1, 0.65).betas()).diff()
    assert sigmoid[0] < 0.1 * sigmoid[50]
    torch.testing.assert_close(sigmoid, sigmoid.flip(0), atol=1e-6, rtol=1e-4)
    geometric = torch.tensor(Annealing(1, 100, "geometric", 1, 0.65).betas()[1:])
    torch.testing.assert_close(geometric[1:] / geometric[:-1], torch.full((99,), 1e4 ** (1 / 100)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("temperatures", [1, 4, 12])
def test_the_mean_weight_is_p_of_x_however_short_the_chains(schedule: Schedule, temperatures: int) -> None:
    """So both ends are bounds. With sigma = 4 the estimate of 1 / p(x) varies even at one temperature."""
    model = FactorAnalysis.drawn(images=10_000, sigma=4.0)
    path, annealing = model.path(), Annealing(1, temperatures, schedule, 2, 0.65)
    steps = annealing.step_sizes(path, generator(0, "pilot"))
    log_p = model.log_p().double()
    for ratios in (
        (annealing.up(path, steps, generator(0, "up")).log_weights - log_p).exp(),  # w / p
        (annealing.down(path, model.z, steps, generator(0, "down")).log_weights + log_p).exp(),
    ):
        assert abs(ratios.mean() - 1) < 4.5 * ratios.std() / 100
        assert 0.05 < ratios.std() < 2


@pytest.mark.parametrize("temperatures", [1, 5])
def test_the_mean_weight_is_p_of_x_where_the_posterior_is_narrow(temperatures: int) -> None:
    model = FactorAnalysis.drawn(images=40)
    path, annealing = model.path(), Annealing(4000, temperatures, "sigmoid", 2, 0.65)
    steps = annealing.step_sizes(path, generator(0, "pilot"))
    ratios = (annealing.up(path, steps, generator(0, "up")).log_weights - model.log_p().double()).exp()
    error = ratios.std(0) / len(ratios) ** 0.5
    informed = effective_sample_size(ratios.log()) > 100  # where a standard error means something
    assert informed.sum() >= 5
    assert ((ratios.mean(0) - 1).abs()[informed] < 5 * error[informed]).all()


def test_long_chains_meet_at_log_p() -> None:
    model = FactorAnalysis.drawn(images=30)
    path, log_p = model.path(), model.log_p().double()
    widths = []
    for temperatures in (10, 160):
        annealing = Annealing(16, temperatures, "sigmoid", 5, 0.65)
        steps = annealing.step_sizes(path, generator(0, "pilot"))
        up = importance_weighted_bound(annealing.up(path, steps, generator(0, "up")).log_weights)
        down = -importance_weighted_bound(annealing.down(path, model.z, steps, generator(0, "d")).log_weights)
        below, above = (log_p - up).mean(), (down - log_p).mean()
        assert below > -0.05
        assert above > -0.05
        widths.append(below + above)
    assert widths[1] < 0.15
    assert widths[0] > 5 * widths[1]


@pytest.mark.parametrize("acceptance", [0.5, 0.65, 0.9])
def test_step_sizes_are_adapted_to_the_acceptance(acceptance: float) -> None:
    path = FactorAnalysis.drawn(images=20).path()
    annealing = Annealing(16, 200, "sigmoid", 3, acceptance)
    steps = annealing.step_sizes(path, generator(0, "pilot"))
    assert steps.shape == (199, 20)
    accepted = annealing.up(path, steps, generator(0, "up")).acceptance
    assert accepted.mean().item() == pytest.approx(acceptance, abs=0.05)
    assert steps[-1].mean() < 0.6 * steps[0].mean()  # the posterior is narrower than the prior


def small_model(path: File, latent_dim: int) -> VAE:
    """A model of 6 pixels whose decoder depends on its latents."""
    node = OmegaConf.to_container(OmegaConf.load(path))
    likelihood = build("likelihood", node, levels=2 if path.stem == "bernoulli" else LEVELS, channels=1)
    torch.manual_seed(3)
    model = VAE(mlp(SHAPE, latent_dim, likelihood.output_channels, hidden=[16]), likelihood, latent_dim)
    for parameter in model.decoder.parameters():
        parameter.mul_(1.2)
    return model


def quadrature(model: VAE, levels: Tensor) -> Tensor:
    """log p(x) [B] by the trapezium rule on a grid of latents from -8 to 8, float64."""
    points = 2001 if model.latent_dim == 1 else 401
    axis = torch.linspace(-8, 8, points)
    z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, 1, model.latent_dim)
    log_joint = log_joint_of(model, levels)(z).double()
    return torch.logsumexp(log_joint, 0) + model.latent_dim * math.log(16 / (points - 1))


@pytest.mark.parametrize(("latent_dim", "start"), [(1, "prior"), (2, "posterior")])
@pytest.mark.parametrize("path", LIKELIHOODS, ids=lambda path: path.stem)
def test_quadrature_lies_inside_every_interval(path: File, latent_dim: int, start: str) -> None:
    model = small_model(path, latent_dim)
    z, levels = simulated(model, IMAGES, generator(0, "simulated"))
    initial = prior_of(model, IMAGES) if start == "prior" else model.posterior(levels)
    annealed = Path(initial, log_joint_of(model, levels))
    annealing = Annealing(32, 80, "sigmoid", 2, 0.65)
    steps = annealing.step_sizes(annealed, generator(0, "pilot"))
    log_p = quadrature(model, levels)
    ends, errors = [], []
    for sign, chains in (
        (1, annealing.up(annealed, steps, generator(0, "up"))),
        (-1, annealing.down(annealed, z, steps, generator(0, "down"))),
    ):
        ends.append(sign * importance_weighted_bound(chains.log_weights))
        size = effective_sample_size(chains.log_weights)
        errors.append((1 / size - 1 / 32).clamp_min(0).sqrt())  # of log mean w
    assert (ends[0] - 4 * errors[0] - 1e-3 < log_p).all()
    assert (log_p < ends[1] + 4 * errors[1] + 1e-3).all()
    assert (ends[1] - ends[0]).mean() < 0.6  # nats, of several: else anything would be inside


def test_chains_come_from_their_generator_and_leave_gradients_alone() -> None:
    model = small_model(LIKELIHOODS[1], 2)
    _, levels = simulated(model, 3, generator(0, "x"))
    path, annealing = (
        Path(prior_of(model, 3), log_joint_of(model, levels)),
        Annealing(4, 5, "linear", 2, 0.65),
    )
    results = []
    for _ in range(2):
        steps = annealing.step_sizes(path, generator(0, "pilot"))
        results.append(annealing.up(path, steps, generator(0, "up")).log_weights)
        torch.rand(3)
    assert torch.equal(*results)
    assert results[0].dtype == torch.float64
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_simulated_images_have_the_marginals_of_the_model() -> None:
    model = small_model(LIKELIHOODS[1], 1)
    z, levels = simulated(model, 20_000, generator(0, "x"))
    assert levels.dtype == torch.uint8
    assert z.mean().abs() < 0.03
    axis = torch.linspace(-6, 6, 601).unsqueeze(1)
    weights = Normal(0.0, 1.0).log_prob(axis).exp() * 12 / 600
    expected = (model.likelihood.mean(model.decode(axis)) * weights[:, :, None, None]).sum(0)
    torch.testing.assert_close(levels.float().mean(0) / (LEVELS - 1), expected, atol=0.012, rtol=0)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ((0, 5, "linear", 1, 0.65), "chains"),
        ((4, 0, "linear", 1, 0.65), "temperatures"),
        ((4, 5, "cosine", 1, 0.65), "schedule"),
        ((4, 5, "linear", 0, 0.65), "leapfrog_steps"),
        ((4, 5, "linear", 1, 1.0), "acceptance"),
    ],
)
def test_settings_that_cannot_be(settings: tuple[int, int, Schedule, int, float], key: str) -> None:
    with pytest.raises(SettingError) as caught:
        Annealing(*settings)
    assert caught.value.key == key


def test_one_temperature_is_importance_sampling_from_the_prior() -> None:
    torch.manual_seed(0)
    model = VAE(mlp(SHAPE, 2, 2, hidden=[8]), BetaBinomial(LEVELS, 1), 2)
    _, levels = simulated(model, 3, generator(0, "x"))
    path, annealing = (
        Path(prior_of(model, 3), log_joint_of(model, levels)),
        Annealing(9, 1, "linear", 1, 0.65),
    )
    steps = annealing.step_sizes(path, generator(0, "pilot"))
    log_weights = annealing.up(path, steps, generator(0, "up")).log_weights
    z = torch.randn(9, 3, 2, generator=generator(0, "up"))
    expected = model.likelihood.log_mass(model.decode(z), levels).double()
    torch.testing.assert_close(log_weights, expected, atol=1e-5, rtol=1e-5)
