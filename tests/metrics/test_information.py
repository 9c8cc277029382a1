"""Mutual information and marginal KL against closed forms, quadrature and torch's own mixtures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vae_likelihoods.metrics.information import (
    Information,
    gaussian_part,
    log_aggregate,
    log_density,
    moments,
    summarise,
)
from vae_likelihoods.seeding import generator

EXACT = Information(samples=16, exact_up_to=5000, batch_size=100)


def drawn(*shape: int, purpose: str = "x") -> Tensor:
    return torch.randn(shape, generator=generator(0, purpose), dtype=torch.float64)


def values(posterior: Normal, metric: Information = EXACT, seed: int = 0) -> dict[str, float]:
    """Return the metric's numbers of posteriors [N, L], the moments being those of the same images."""
    parts = metric.per_image(posterior, generator(seed, "metric"))
    nats = {name: part.numpy() for name, part in parts._asdict().items()}
    numbers = summarise(nats, gaussian_part(posterior, posterior))
    return {name: float(number) for name, number in numbers.items()}  # type: ignore[arg-type]


def mixture(posterior: Normal) -> MixtureSameFamily:
    return MixtureSameFamily(
        Categorical(logits=torch.zeros(len(posterior.mean), dtype=torch.float64)), Independent(posterior, 1)
    )


def test_log_density_is_that_of_torch() -> None:
    z, mean, scale = drawn(5, 7, 3), drawn(11, 3, purpose="m"), drawn(11, 3, purpose="s").exp() * 0.1
    expected = Independent(Normal(mean, scale), 1).log_prob(z[..., None, :])
    torch.testing.assert_close(log_density(z, mean, scale), expected, rtol=1e-9, atol=1e-9)


def test_the_aggregate_of_all_images_is_the_mixture_of_torch() -> None:
    posterior = Normal(drawn(9, 2), drawn(9, 2, purpose="s").exp())
    rows = torch.tensor([2, 5])
    block = Normal(posterior.mean[rows], posterior.stddev[rows])
    z = block.mean + block.stddev * drawn(4, 2, 2, purpose="z")
    own = block.log_prob(z).sum(-1)
    every, others = log_aggregate(z, own, rows, posterior, torch.arange(9))
    torch.testing.assert_close(every, mixture(posterior).log_prob(z))
    for column, row in enumerate(rows.tolist()):
        rest = [image for image in range(9) if image != row]
        without = mixture(Normal(posterior.mean[rest], posterior.stddev[rest]))
        torch.testing.assert_close(others[:, column], without.log_prob(z[:, column]))


def test_the_stratified_aggregate_is_right_on_average_over_all_minibatches() -> None:
    posterior, rows = Normal(drawn(6, 2), drawn(6, 2, purpose="s").exp()), torch.arange(6)
    z = posterior.mean + posterior.stddev * drawn(3, 6, 2, purpose="z")
    own = posterior.log_prob(z).sum(-1)
    minibatches = [torch.tensor(chosen) for chosen in itertools.combinations(range(6), 3)]
    estimates = [log_aggregate(z, own, rows, posterior, members)[0].exp() for members in minibatches]
    assert estimates[0].std() > 0
    assert not torch.allclose(estimates[0], estimates[1])
    torch.testing.assert_close(torch.stack(estimates).mean(0), mixture(posterior).log_prob(z).exp())


@pytest.mark.parametrize("slope", [0.3, 1.0, 2.0])
def test_a_gaussian_channel_has_the_information_of_the_closed_form(slope: float) -> None:
    """x ~ N(0, 1), z = slope x + s noise: I = log(1 + slope^2 / s^2) / 2, z ~ N(0, slope^2 + s^2)."""
    scale, images = 0.5, 1500
    posterior = Normal(slope * drawn(images, 2), torch.full((images, 2), scale, dtype=torch.float64))
    nats = values(posterior)
    truth = 2 * 0.5 * math.log1p(slope**2 / scale**2)
    aggregate = Normal(0.0, math.sqrt(slope**2 + scale**2))
    marginal = 2 * float(kl_divergence(aggregate, Normal(0.0, 1.0)))
    three = 3 * nats["mutual_information_se_nats"]
    assert nats["mutual_information_nats"] - three <= truth <= nats["mutual_information_upper_nats"] + three
    assert nats["mutual_information_nats"] == pytest.approx(truth, abs=three + 0.02)
    assert nats["marginal_kl_nats"] == pytest.approx(marginal, abs=3 * nats["marginal_kl_se_nats"] + 0.02)
    # The aggregate is a Gaussian, so its moments tell all.
    assert nats["marginal_kl_gaussian_nats"] == pytest.approx(marginal, abs=0.1 * marginal + 0.01)


def test_information_and_marginal_kl_of_two_images_by_quadrature() -> None:
    mean, scale = torch.tensor([[-1.0], [0.7]]).double(), torch.tensor([[0.4], [0.9]]).double()
    normals = [Normal(float(m), float(s)) for m, s in zip(mean, scale, strict=True)]

    def density(z: float) -> float:
        return sum(math.exp(float(normal.log_prob(torch.tensor(z)))) for normal in normals) / 2

    def divergence(z: float) -> float:
        q = density(z)
        return q * (math.log(q) - float(Normal(0.0, 1.0).log_prob(torch.tensor(z)))) if q > 0 else 0.0

    marginal, _ = integrate.quad(divergence, -8, 8, limit=200)
    rate = float(kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)).mean())
    nats = values(Normal(mean, scale), Information(samples=100_000, exact_up_to=2, batch_size=2))
    assert nats["marginal_kl_nats"] == pytest.approx(marginal, abs=0.01)
    assert nats["mutual_information_nats"] == pytest.approx(rate - marginal, abs=0.01)


@pytest.mark.parametrize("metric", [EXACT, Information(samples=4, exact_up_to=10, batch_size=20)])
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1.5, 0.3)])
def test_a_collapsed_posterior_has_no_information(metric: Information, mean: float, scale: float) -> None:
    """The floor is 0, also of the stratified estimate; all of the rate, if there is any, is marginal."""
    same = Normal(torch.full((50, 3), mean).double(), torch.full((50, 3), scale).double())
    nats = values(same, metric)
    rate = 3 * float(kl_divergence(Normal(mean, scale), Normal(0.0, 1.0)))
    assert nats["mutual_information_nats"] == pytest.approx(0.0, abs=1e-10)
    assert nats["mutual_information_se_nats"] == pytest.approx(0.0, abs=1e-10)
    assert nats["mutual_information_upper_nats"] == pytest.approx(0.0, abs=1e-6)
    assert nats["marginal_kl_nats"] == pytest.approx(rate, abs=4 * nats["marginal_kl_se_nats"] + 1e-10)
    assert nats["marginal_kl_gaussian_nats"] == pytest.approx(rate, abs=1e-6)


def test_images_that_are_told_apart_have_the_information_of_their_number() -> None:
    """Far and narrow: I = log N exactly, and the upper bound is the rate's."""
    apart = Normal(torch.arange(20).double()[:, None] * 10, torch.full((20, 1), 0.01).double())
    nats = values(apart)
    assert nats["mutual_information_nats"] == pytest.approx(math.log(20))
    assert nats["mutual_information_limit_nats"] == math.log(20)
    rate = float(kl_divergence(apart, Normal(0.0, 1.0)).sum(-1).mean())
    assert nats["mutual_information_upper_nats"] == pytest.approx(rate - nats["marginal_kl_gaussian_nats"])


@pytest.mark.parametrize("metric", [EXACT, Information(samples=16, exact_up_to=10, batch_size=64)])
def test_the_parts_add_up_to_the_rate_within_their_error(metric: Information) -> None:
    posterior = Normal(drawn(300, 4), drawn(300, 4, purpose="s").mul(0.3).exp() * 0.5)
    nats = values(posterior, metric)
    assert 0 < nats["information_residual_se_nats"] < 0.05
    assert abs(nats["information_residual_nats"]) < 4 * nats["information_residual_se_nats"]


def test_the_residual_errs_as_much_as_it_says() -> None:
    """Over noises, its standard deviation is the standard error that is stated."""
    posterior = Normal(drawn(40, 2), torch.full((40, 2), 0.5).double())
    few = Information(samples=4, exact_up_to=100, batch_size=10)
    numbers = [values(posterior, few, seed) for seed in range(200)]
    residuals = np.array([each["information_residual_nats"] for each in numbers])
    stated = np.mean([each["information_residual_se_nats"] for each in numbers])
    assert residuals.std() == pytest.approx(stated, rel=0.2)
    assert abs(residuals.mean()) < 4 * stated / math.sqrt(200)


def test_the_stratified_estimate_is_close_to_the_exact_one_and_not_below_it() -> None:
    posterior = Normal(drawn(1000, 2), torch.full((1000, 2), 0.5).double())
    exact = values(posterior)["mutual_information_nats"]
    nats = values(posterior, Information(samples=16, exact_up_to=10, batch_size=250))
    assert exact - 0.01 < nats["mutual_information_nats"] < exact + 0.05


def test_blocks_of_images_change_nothing_but_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior = Normal(drawn(100, 2), torch.full((100, 2), 0.5).double())
    whole = values(posterior, Information(samples=64, exact_up_to=100, batch_size=10))
    monkeypatch.setattr("vae_likelihoods.metrics.information.HELD", 64 * 100 * 7)  # seven images at once
    parts = values(posterior, Information(samples=64, exact_up_to=100, batch_size=10))
    assert parts["mutual_information_nats"] == pytest.approx(whole["mutual_information_nats"], abs=0.05)
    assert parts["mutual_information_nats"] != whole["mutual_information_nats"]


def test_moments_are_those_of_draws_from_the_mixture() -> None:
    posterior = Normal(drawn(5, 2), drawn(5, 2, purpose="s").exp())
    z = posterior.mean + posterior.stddev * drawn(200_000, 5, 2, purpose="z")
    mean, covariance = moments(posterior)
    np.testing.assert_allclose(z.reshape(-1, 2).mean(0), mean, atol=0.02)
    np.testing.assert_allclose(torch.cov(z.reshape(-1, 2).T), covariance, atol=0.05)


def test_the_gaussian_part_of_equal_splits_is_the_kl_of_their_gaussian() -> None:
    posterior = Normal(1 + 2 * drawn(50, 3), drawn(50, 3, purpose="s").exp())
    mean, covariance = moments(posterior)
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    expected = float(kl_divergence(MultivariateNormal(mean, covariance), prior))
    assert gaussian_part(posterior, posterior) == pytest.approx(expected)


def test_the_gaussian_part_of_a_train_split_that_misleads_is_no_bound_below_nothing() -> None:
    prior = Normal(torch.zeros(50, 2).double(), 1.0)
    elsewhere = Normal(torch.full((50, 2), 5.0).double(), 0.1)
    assert gaussian_part(elsewhere, prior) == 0.0
