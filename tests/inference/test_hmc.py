"""Hamiltonian Monte Carlo leaves the density of a path invariant: the moments of a Gaussian show it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from vae_likelihoods.inference.hmc import Path, hamiltonian_step
from vae_likelihoods.seeding import generator

MEAN, SCALE = torch.tensor([0.7, -1.2]), torch.tensor([0.5, 1.5])
COVARIANCE = torch.tensor([[0.6, 0.5], [0.5, 0.9]])
CHAINS = 20_000


def correlated(z: Tensor) -> Tensor:
    """Three times a correlated Gaussian, unlike the initial one: a joint density need not be normalised."""
    return MultivariateNormal(torch.zeros(2), COVARIANCE).log_prob(z) + torch.tensor(3.0).log()


@pytest.fixture
def path() -> Path:
    return Path(Normal(MEAN.expand(1, 2), SCALE.expand(1, 2)), correlated)


def between(beta: float) -> MultivariateNormal:
    """f_beta in closed form: precisions, and means times precisions, are mixed."""
    first, second = torch.diag(SCALE**-2), torch.linalg.inv(COVARIANCE)
    precision = (1 - beta) * first + beta * second
    mean = torch.linalg.solve(precision, (1 - beta) * first @ MEAN)
    return MultivariateNormal(mean, torch.linalg.inv(precision))


def test_slope_is_the_gradient_of_the_log_density(path: Path) -> None:
    z = torch.randn(7, 1, 2, generator=generator(0, "z")).requires_grad_()
    for beta in (0.0, 0.3, 1.0):
        log_density = between(beta).log_prob(z).sum()  # log f_beta up to a constant
        (gradient,) = torch.autograd.grad(log_density, z)
        torch.testing.assert_close(path.slope(beta, path.at(z)), gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("step", [0.3, 0.9])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_exact_draws_stay_exact(path: Path, beta: float, step: float) -> None:
    """A step of 0.9 is rejected so often that accepting every move would widen the density."""
    exact = between(beta)
    noise = torch.randn(CHAINS, 2, generator=generator(0, "exact"))
    point = path.at((exact.mean + noise @ exact.scale_tril.T).unsqueeze(1))
    draws = generator(0, "noise")
    moved = []
    for _ in range(8):
        point, probability = hamiltonian_step(path, beta, point, torch.tensor([step]), 3, draws)
        moved.append(probability.mean())
    z = point.z.squeeze(1)
    centred = z - exact.mean
    error = exact.variance.sqrt() / CHAINS**0.5
    assert (centred.mean(0).abs() < 4.5 * error).all()
    # the standard error of a sample covariance
    spread = exact.variance.outer(exact.variance).add(exact.covariance_matrix**2).div(CHAINS).sqrt()
    assert ((centred.T @ centred / CHAINS - exact.covariance_matrix).abs() < 4.5 * spread).all()
    if step == 0.9 and beta == 1.0:
        assert torch.stack(moved).mean() < 0.97


def test_chains_forget_where_they_began(path: Path) -> None:
    point, draws = path.at(torch.full((2000, 1, 2), 5.0)), generator(0, "noise")
    for _ in range(40):
        point, _ = hamiltonian_step(path, 1.0, point, torch.tensor([0.5]), 5, draws)
    assert point.z.mean((0, 1)).abs().max() < 0.1
    assert point.z.squeeze(1).T.cov().sub(COVARIANCE).abs().max() < 0.1


def test_what_a_point_holds_belongs_to_its_z(path: Path) -> None:
    """For chains that moved and for those that did not, also after many steps."""
    point, draws = path.at(torch.randn(50, 1, 2, generator=generator(0, "z"))), generator(0, "noise")
    for _ in range(5):
        point, _ = hamiltonian_step(path, 0.5, point, torch.tensor([1.2]), 3, draws)
    for stored, computed in zip(point, path.at(point.z), strict=True):
        torch.testing.assert_close(stored, computed)


def test_a_step_costs_as_many_gradients_as_leaps(path: Path) -> None:
    calls = []

    def counted(z: Tensor) -> Tensor:
        calls.append(len(z))
        return correlated(z)

    counting = Path(path.initial, counted)
    point = counting.at(torch.zeros(3, 1, 2))
    hamiltonian_step(counting, 0.5, point, torch.tensor([0.1]), 7, generator(0, "noise"))
    assert len(calls) == 1 + 7


def test_a_path_that_diverges_is_refused() -> None:
    def cliff(z: Tensor) -> Tensor:
        return torch.where(z.abs() < 5, -z.square(), z * torch.nan).sum(-1)

    path = Path(Normal(torch.zeros(1, 1), torch.ones(1, 1), validate_args=False), cliff)
    start = path.at(torch.zeros(64, 1, 1))
    point, probability = hamiltonian_step(path, 1.0, start, torch.tensor([100.0]), 4, generator(0, "n"))
    assert (probability == 0).all()
    assert torch.equal(point.z, start.z)
