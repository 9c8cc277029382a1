"""Objectives against sums written out by hand, and properties of every YAML in conf/objective."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from families import gaussian
from vae_likelihoods.cells.build import build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.objectives.several_draws import IWAE, AveragedELBO
from vae_likelihoods.seeding import generator

OBJECTIVES = sorted((Path(__file__).parents[2] / "conf" / "objective").glob("*.yaml"))
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
    objective: Objective = build("objective", OmegaConf.to_container(OmegaConf.load(path)))
    return objective


def by_hand(
    model: VAE, levels: torch.Tensor, samples: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p(x|z), log p(z) - log q(z|x), both [S, B], and KL [B], from the networks and torch alone."""
    x = levels.float()
    mean, log_scale = model.encoder(x).chunk(2, -1)
    shape = (BATCH, LATENTS) if samples == 1 else (samples, BATCH, LATENTS)
    noise = torch.randn(shape, generator=generator(0, "noise")).reshape(samples, BATCH, LATENTS)
    z = mean + log_scale.exp() * noise
    logits = torch.stack([model.decoder(draw) for draw in z])
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


@pytest.mark.parametrize("samples", [1, 5])
def test_averaged_elbo_is_the_mean_log_weight(model: VAE, levels: torch.Tensor, samples: int) -> None:
    log_likelihood, ratio, kl = by_hand(model, levels, samples)
    terms = AveragedELBO(samples)(model, levels, generator(0, "noise"), epoch=1)
    torch.testing.assert_close(terms.loss, -(log_likelihood + ratio).mean())
    torch.testing.assert_close(terms.distortion, -log_likelihood.mean(0))
    torch.testing.assert_close(terms.rate, kl)


def test_averaged_elbo_of_one_sample_is_iwae_of_one_sample(model: VAE, levels: torch.Tensor) -> None:
    """Burda et al. 2016: with k = 1 the two objectives coincide, gradients and all."""
    averaged, weighted = (
        torch.autograd.grad(objective(model, levels, generator(0, "n"), 1).loss, [*model.parameters()])
        for objective in (AveragedELBO(1), IWAE(1))
    )
    torch.testing.assert_close(averaged, weighted)


def test_averaged_elbo_estimates_the_elbo_whatever_the_number_of_samples(
    model: VAE, levels: torch.Tensor
) -> None:
    with torch.no_grad():
        elbo = torch.stack([ELBO(1.0, 0)(model, levels, generator(i, "a"), 1).loss for i in range(2000)])
        many = AveragedELBO(4000)(model, levels, generator(0, "b"), epoch=1).loss
    assert many.item() == pytest.approx(elbo.mean().item(), abs=5 * elbo.std().item() / 2000**0.5)


SIGMA = 0.5


@pytest.fixture
def one_pixel() -> VAE:
    """x = w z + b + sigma e with one pixel of 256 levels and one latent; q(z | x) = N(0.3 x - 0.2, 0.7^2)."""
    model = VAE(linear((1, 1, 1), 1, 1), gaussian(256, 1, scale=SIGMA), 1)
    (_, encoder), (decoder, _) = model.encoder, model.decoder
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[0.3], [0.0]]))
        encoder.bias.copy_(torch.tensor([-0.2, math.log(0.7)]))
        decoder.weight.fill_(1.7)
        decoder.bias.fill_(0.1)
    return model


@pytest.mark.parametrize("samples", [1, 5, 50])
@pytest.mark.parametrize("kind", [AveragedELBO, IWAE])
def test_gradients_are_the_closed_form(
    one_pixel: VAE, kind: type[AveragedELBO] | type[IWAE], samples: int
) -> None:
    """Burda et al. 2016, equations 13 and 14: sum_i v_i grad log w_i, v_i equal or proportional to w_i.

    With z_i = mean + scale e_i and r_i = (x - w z_i - b) / sigma^2, log w_i has by w the derivative r_i z_i,
    by b r_i, and along z_i r_i w - z_i; log q(z_i | x) moves with the scale alone, by -1/scale.
    """
    levels = torch.tensor([0, 40, 128, 255], dtype=torch.uint8).reshape(4, 1, 1, 1)
    kind(samples)(one_pixel, levels, generator(0, "noise"), epoch=1).loss.backward()
    x, scale = levels.flatten().double() / 255, 0.7
    e = torch.randn((samples, 4, 1), generator=generator(0, "noise"))[..., 0].double()
    z = 0.3 * x - 0.2 + scale * e
    residual = x - 1.7 * z - 0.1
    log_w = -0.5 * (residual / SIGMA) ** 2 - 0.5 * z**2 + 0.5 * e**2  # up to what all draws share
    v = torch.softmax(log_w, 0) if kind is IWAE else torch.full_like(log_w, 1 / samples)
    r = residual / SIGMA**2
    by_z = r * 1.7 - z
    expected = {
        "decoder.0.weight": r * z,
        "decoder.0.bias": r,
        "encoder.1.bias mean": by_z,
        "encoder.1.bias log scale": by_z * scale * e + 1,
        "encoder.1.weight mean": by_z * x,
    }
    gradients = {
        "decoder.0.weight": one_pixel.decoder[0].weight.grad,
        "decoder.0.bias": one_pixel.decoder[0].bias.grad,
        "encoder.1.bias mean": one_pixel.encoder[1].bias.grad[0],
        "encoder.1.bias log scale": one_pixel.encoder[1].bias.grad[1],
        "encoder.1.weight mean": one_pixel.encoder[1].weight.grad[0],
    }
    for name, gradient in expected.items():
        assert -gradients[name].item() == pytest.approx((v * gradient).sum(0).mean().item(), rel=1e-4), name


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
        (lambda: ELBO(beta=-0.1, warmup_epochs=0), "beta"),
        (lambda: ELBO(beta=math.inf, warmup_epochs=0), "beta"),
        (lambda: ELBO(beta=math.nan, warmup_epochs=0), "beta"),
        (lambda: ELBO(beta=1.0, warmup_epochs=-1), "warmup_epochs"),
        (lambda: IWAE(samples=0), "samples"),
        (lambda: AveragedELBO(samples=0), "samples"),
        (lambda: IWAE(samples=2.5), "samples"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_be(make: object, key: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.key == key
