"""Objectives against sums written out by hand, and properties of every YAML in conf/objective."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from vae_likelihoods.build import build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.objectives import ELBO, IWAE, Objective
from vae_likelihoods.seeding import generator

OBJECTIVES = sorted((Path(__file__).parents[1] / "conf" / "objective").glob("*.yaml"))
BATCH, LATENTS = 8, 2
every_objective = pytest.mark.parametrize("path", OBJECTIVES, ids=lambda path: path.stem)


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    return VAE(mlp((1, 3, 4), LATENTS, 1, hidden=[8]), Bernoulli(2, 1), LATENTS)


@pytest.fixture
def levels() -> torch.Tensor:
    return torch.randint(2, (BATCH, 1, 3, 4), generator=generator(0, "levels"), dtype=torch.uint8)


def built(path: Path) -> Objective:
    made: Objective = build("objective", OmegaConf.to_container(OmegaConf.load(path)))
    return made


def by_hand(
    model: VAE, levels: torch.Tensor, samples: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p(x|z), log p(z) - log q(z|x), both [S, B], and KL [B], from the networks and torch alone."""
    x = levels.float()
    mean, log_scale = model.encoder(x).chunk(2, -1)
    shape = (BATCH, LATENTS) if samples == 1 else (samples, BATCH, LATENTS)
    noise = torch.randn(shape, generator=generator(0, "noise")).reshape(samples, BATCH, LATENTS)
    z = mean + log_scale.exp() * noise
    logits = torch.stack([model.decoder(one) for one in z])
    log_likelihood = TorchBernoulli(logits=logits).log_prob(x).flatten(2).sum(-1)
    ratio = Normal(0.0, 1.0).log_prob(z) - Normal(mean, log_scale.exp()).log_prob(z)
    kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(-1)
    return log_likelihood, ratio.sum(-1), kl


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_elbo_loss_is_distortion_plus_beta_rate(model: VAE, levels: torch.Tensor, beta: float) -> None:
    log_likelihood, _, kl = by_hand(model, levels, 1)
    terms = ELBO(beta=beta, warmup_epochs=0)(model, levels, generator(0, "noise"), epoch=1)
    torch.testing.assert_close(terms.distortion, -log_likelihood[0])
    torch.testing.assert_close(terms.rate, kl)
    torch.testing.assert_close(terms.loss, (-log_likelihood[0] + beta * kl).mean())
    torch.testing.assert_close(terms.elbo, log_likelihood[0] - kl)  # at beta = 1, whatever beta is


def test_warm_up_rises_in_equal_steps_and_is_in_the_loss(model: VAE, levels: torch.Tensor) -> None:
    objective = ELBO(beta=2.0, warmup_epochs=3)
    weights = [objective.rate_weight(epoch) for epoch in range(1, 7)]
    assert weights == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    for epoch, weight in enumerate(weights, start=1):
        terms = objective(model, levels, generator(0, "noise"), epoch)
        torch.testing.assert_close(terms.loss, (terms.distortion + weight * terms.rate).mean())


def test_no_warm_up_starts_at_beta() -> None:
    assert [ELBO(0.7, 0).rate_weight(epoch) for epoch in (1, 2, 100)] == [0.7] * 3
    assert IWAE(5).rate_weight(1) == 1.0


@pytest.mark.parametrize("samples", [2, 5])
def test_iwae_is_log_mean_weight(model: VAE, levels: torch.Tensor, samples: int) -> None:
    log_likelihood, ratio, kl = by_hand(model, levels, samples)
    terms = IWAE(samples)(model, levels, generator(0, "noise"), epoch=1)
    bound = (log_likelihood + ratio).exp().mean(0).log()
    torch.testing.assert_close(terms.loss, -bound.mean())
    torch.testing.assert_close(terms.distortion, -log_likelihood.mean(0))
    torch.testing.assert_close(terms.rate, kl)


def test_iwae_of_one_sample_has_the_log_ratio_and_not_the_analytic_kl(
    model: VAE, levels: torch.Tensor
) -> None:
    log_likelihood, ratio, kl = by_hand(model, levels, 1)
    loss = IWAE(1)(model, levels, generator(0, "noise"), epoch=1).loss
    torch.testing.assert_close(loss, -(log_likelihood[0] + ratio[0]).mean())
    assert (loss + (log_likelihood[0] - kl).mean()).abs() > 1e-3


def test_iwae_weights_the_best_sample_most(model: VAE, levels: torch.Tensor) -> None:
    """Weights made of the loss instead of minus the loss give a bound below the mean, not above it."""
    terms = IWAE(64)(model, levels, generator(0, "noise"), epoch=1)
    log_likelihood, ratio, _ = by_hand(model, levels, 64)
    assert -terms.loss > (log_likelihood + ratio).mean()


def test_iwae_bound_rises_with_k_on_average(model: VAE, levels: torch.Tensor) -> None:
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(3)  # a decoder that uses its latents, so that the bounds lie apart
    means = []
    for samples in (1, 4, 16, 64):
        losses = [IWAE(samples)(model, levels, generator(i, "n"), epoch=1).loss for i in range(60)]
        means.append(-torch.stack(losses).mean().item())
    assert means == sorted(means)
    assert means[-1] - means[0] > 0.1


@every_objective
def test_terms_are_per_image_finite_and_add_up(path: Path, model: VAE, levels: torch.Tensor) -> None:
    terms = built(path)(model, levels, generator(0, "noise"), epoch=1)
    assert terms.loss.shape == ()
    for part in (terms.distortion, terms.rate, terms.elbo):
        assert part.shape == (BATCH,)
        assert part.isfinite().all()
    torch.testing.assert_close(terms.elbo, -(terms.distortion + terms.rate))
    assert (terms.rate >= 0).all()
    assert (terms.elbo < 0).all()  # a bound on a log-probability


@every_objective
def test_the_loss_moves_every_parameter(path: Path, model: VAE, levels: torch.Tensor) -> None:
    built(path)(model, levels, generator(0, "noise"), epoch=1).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_objective
def test_noise_comes_from_the_generator_alone(path: Path, model: VAE, levels: torch.Tensor) -> None:
    objective = built(path)
    losses = [objective(model, levels, generator(seed, "n"), epoch=1).loss.item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: ELBO(beta=-0.1, warmup_epochs=0), "objective.beta"),
        (lambda: ELBO(beta=math.inf, warmup_epochs=0), "objective.beta"),
        (lambda: ELBO(beta=math.nan, warmup_epochs=0), "objective.beta"),
        (lambda: ELBO(beta=1.0, warmup_epochs=-1), "objective.warmup_epochs"),
        (lambda: IWAE(samples=0), "objective.samples"),
        (lambda: IWAE(samples=2.5), "objective.samples"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_be(make: object, key: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.key == key
