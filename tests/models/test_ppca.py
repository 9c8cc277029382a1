"""Probabilistic PCA against scikit-learn, scipy and quadrature over its one latent."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor

from metrics.given import given, measure
from vae_likelihoods.errors import SettingError
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.likelihoods.scales import SharedScale
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.models.blocks import log_mass
from vae_likelihoods.models.ppca import PPCA
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.seeding import generator

DIGITS = torch.from_numpy(load_digits().data.astype("uint8")).reshape(-1, 1, 8, 8)
POINTS = DIGITS.flatten(1).double() / 16
TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def fitted(
    images: Tensor, levels: int, latent_dim: int, dtype: torch.dtype = torch.float64
) -> tuple[PPCA, Tensor, Tensor, float]:
    """Return the model, and its W, mu and sigma."""
    channels, height, width = images.shape[1:]
    model = PPCA((channels, height, width), levels, latent_dim).to(dtype)
    assert model.fits_itself
    assert model.fit(images, images)
    zero, one = torch.zeros(1, latent_dim, dtype=dtype), torch.eye(latent_dim, dtype=dtype)
    with torch.no_grad():
        mean = model.decode(zero).flatten(1)
        weight = (model.decode(one).flatten(1) - mean).T
    return model, weight.double(), mean[0].double(), model.summary()["scale"]


def covariance_of(weight: Tensor, sigma: float) -> np.ndarray:
    return (weight @ weight.T + sigma**2 * torch.eye(len(weight), dtype=torch.float64)).numpy()


@TYPES
@pytest.mark.parametrize("latent_dim", [1, 5, 40])
def test_it_is_the_closed_form(latent_dim: int, dtype: torch.dtype) -> None:
    """Tipping & Bishop 1999, equations 7 and 8, with numpy."""
    _, weight, mean, sigma = fitted(DIGITS, 17, latent_dim, dtype)
    eigenvalues, vectors = np.linalg.eigh(np.cov(POINTS.T.numpy(), bias=True))
    variance = eigenvalues[:-latent_dim].mean()
    largest = slice(None, -latent_dim - 1, -1)
    expected = vectors[:, largest] * np.sqrt(eigenvalues[largest] - variance)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-9
    assert sigma == pytest.approx(math.sqrt(variance), rel=1e-6)
    np.testing.assert_allclose(mean.numpy(), POINTS.mean(0).numpy(), atol=tolerance)
    np.testing.assert_allclose(np.abs(weight.numpy()), np.abs(expected), atol=tolerance)
    highest = weight.abs().argmax(0, keepdim=True)
    assert (weight.gather(0, highest) > 0).all()  # of an eigenvector and its opposite it is this one


@TYPES
def test_log_density_is_that_of_scipy_and_of_scikit_learn(dtype: torch.dtype) -> None:
    model, weight, mean, sigma = fitted(DIGITS, 17, 6, dtype)
    with torch.no_grad():
        log_density = model.log_density(DIGITS)
    assert log_density.shape == (len(DIGITS),)
    assert log_density.dtype == dtype
    tolerance = 2e-3 if dtype == torch.float32 else 1e-7
    normal = stats.multivariate_normal(mean.numpy(), covariance_of(weight, sigma))
    np.testing.assert_allclose(log_density.numpy(), normal.logpdf(POINTS.numpy()), atol=tolerance)
    # scikit-learn divides by N - 1: its covariance is N / (N-1) times that of maximum likelihood
    reference, images = PCA(n_components=6).fit(POINTS.numpy()), len(DIGITS)
    ratio = images / (images - 1)
    inflated = POINTS.mean(0) + (POINTS - POINTS.mean(0)) * math.sqrt(ratio)
    scores = reference.score_samples(inflated.numpy()) + 32 * math.log(ratio)
    np.testing.assert_allclose(log_density.numpy(), scores, atol=tolerance)


def test_no_other_scale_or_subspace_is_more_likely() -> None:
    model, weight, mean, sigma = fitted(DIGITS, 17, 4)
    with torch.no_grad():
        best = model.log_density(DIGITS).mean().item()
    drawn = generator(0, "directions")
    for step in (1e-2, -1e-2):
        noise = torch.randn(weight.shape, generator=drawn, dtype=torch.float64)
        others = [
            (weight, mean, sigma + step),
            (weight * (1 + step), mean, sigma),
            (weight + step * noise, mean, sigma),
            (weight, mean + step, sigma),
        ]
        for other, centre, scale in others:
            normal = stats.multivariate_normal(centre.numpy(), covariance_of(other, scale))
            assert normal.logpdf(POINTS.numpy()).mean() < best


@TYPES
def test_the_posterior_is_that_of_the_textbook(dtype: torch.dtype) -> None:
    """Bishop 2006, equations 12.41 and 12.42: z and x are normal together."""
    model, weight, mean, sigma = fitted(DIGITS, 17, 5, dtype)
    with torch.no_grad():
        posterior = model.posterior(DIGITS)
    together = weight.T.numpy() @ np.linalg.inv(covariance_of(weight, sigma))  # Cov(z, x) Cov(x)^-1
    expected = (POINTS - mean).numpy() @ together.T
    covariance = np.eye(5) - together @ weight.numpy()
    np.testing.assert_allclose(posterior.mean.numpy(), expected, atol=1e-4)
    scales = posterior.stddev[0].double().numpy()
    np.testing.assert_allclose(np.diag(scales**2), covariance, atol=1e-6)
    assert (posterior.stddev == posterior.stddev[0]).all()


def test_bounds_lie_below_the_mass_that_quadrature_gives() -> None:
    """Four pixels, one latent: log p(x) is an integral over z."""
    drawn = generator(0, "images")
    brightness = torch.rand((400, 1, 1, 1), generator=drawn)
    images = (7 * (brightness + 0.1 * torch.randn((400, 1, 2, 2), generator=drawn))).round().clamp(0, 7)
    levels = images.to(torch.uint8)
    model, *_ = fitted(levels, 8, 1)
    scored = levels[:30]
    z = torch.linspace(-8, 8, 801, dtype=torch.float64)
    with torch.no_grad():
        joint = log_mass(model, z.view(-1, 1, 1), scored) + model.prior().log_prob(z)[:, None]
        exact = torch.logsumexp(joint, 0) + math.log(16 / 800)
        every = torch.tensor(list(itertools.product(range(8), repeat=4)), dtype=torch.uint8).view(-1, 1, 2, 2)
        coarse = torch.linspace(-6, 6, 61, dtype=torch.float64)
        mass = log_mass(model, coarse.view(-1, 1, 1), every) + model.prior().log_prob(coarse)[:, None]
        assert (mass.exp().sum() * 12 / 60).item() == pytest.approx(1, abs=1e-6)

        posterior = model.posterior(scored)
        noise = generator(0, "draws")
        bounds = importance_weighted(model, scored, posterior, [1, 10, 5000], noise, 100_000)
        distortion, rate = model.parts(scored, noise, torch.no_grad)
    one, ten, many = bounds.log_mean_weight
    assert (bounds.elbo < exact + 0.15).all()  # its distortion is a mean of draws
    assert bounds.elbo.mean() < ten.mean()
    assert one.mean() < ten.mean() < exact.mean()
    torch.testing.assert_close(many, exact, rtol=0, atol=0.05)
    assert many.mean().item() == pytest.approx(exact.mean().item(), abs=0.01)
    # the posterior of the density is nearly that of the mass
    assert one.mean() > exact.mean() - 0.5
    assert -(distortion + rate).mean().item() == pytest.approx(one.mean().item(), abs=0.3)


def test_on_the_density_the_bound_is_tight() -> None:
    """Where q(z | x) is the posterior, every weight p(x, z) / q(z | x) is p(x)."""
    model, *_ = fitted(DIGITS, 17, 3)
    posterior = model.posterior(DIGITS)
    z = posterior.sample()
    with torch.no_grad():
        log_likelihood = model.likelihood.log_prob(model.decode(z), DIGITS)
        log_weight = log_likelihood + (model.prior().log_prob(z) - posterior.log_prob(z)).sum(1)
        torch.testing.assert_close(log_weight, model.log_density(DIGITS), rtol=0, atol=1e-8)
    assert model.trained_on == "density"
    assert not model.exact


def test_draws_have_the_mean_and_the_covariance() -> None:
    """Grey levels that seldom reach an end, where the bins cut off what is outside."""
    drawn = generator(0, "images")
    spread = torch.tensor([8.0, 3.0, 5.0, 2.0]).view(1, 2, 2)
    common = 20 * torch.randn((2000, 1, 1, 1), generator=drawn)
    images = 100 + common + spread * torch.randn((2000, 1, 2, 2), generator=drawn)
    levels = images.round().clamp(0, 255).to(torch.uint8)
    model, weight, mean, sigma = fitted(levels, 256, 2, torch.float32)
    samples = model.draw(20_000, generator(0, "draw")).flatten(1).double()
    points = (samples + 0.5) / 256
    np.testing.assert_allclose(points.mean(0).numpy(), mean.numpy(), atol=0.004)
    np.testing.assert_allclose(torch.cov(points.T).numpy(), covariance_of(weight, sigma), atol=4e-4)


def test_a_latent_carries_half_the_log_of_eigenvalue_over_variance() -> None:
    """The mean over train of its rate, which any metric of a VAE measures."""
    model, _, _, sigma = fitted(DIGITS, 17, 3, torch.float32)
    with torch.no_grad():
        rates = model.rate_per_latent(model.posterior(DIGITS)).mean(0)
    eigenvalues = np.linalg.eigvalsh(np.cov(POINTS.T.numpy(), bias=True))[:-4:-1]
    expected = 0.5 * np.log(eigenvalues / sigma**2)
    np.testing.assert_allclose(rates.numpy(), expected, atol=1e-4)
    measured = measure(Latents(threshold=0.01, batch_size=2000), model, given(DIGITS, 17), "m")
    assert measured.values["kl_per_latent_nats"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert measured.values["active_units"] == 3


def test_no_step_of_an_optimiser_would_be_uphill() -> None:
    """The slopes of the ELBO on the density are 0, but for the noise of the draws."""
    model, *_ = fitted(DIGITS, 17, 3)
    parameters, slopes = list(model.parameters()), []
    for index in range(60):
        model.zero_grad()
        ELBO(1.0, 0)(model, DIGITS, generator(index, "noise"), 1).loss.backward()
        slopes.append(torch.cat([p.grad.flatten() for p in parameters]))  # type: ignore[union-attr]
    stacked = torch.stack(slopes)
    error = stacked.std(0) / 60**0.5
    assert (stacked.mean(0).abs() < 6 * error + 1e-6).all()


@TYPES
@pytest.mark.parametrize("count", [1, 2, 12])
def test_few_images_and_constant_pixels_are_fitted(count: int, dtype: torch.dtype) -> None:
    """Fewer images than latents, most pixels without variance: sigma is at its lower bound."""
    images = DIGITS[:count]
    model, weight, mean, sigma = fitted(images, 17, 20, dtype)
    assert isinstance(model.likelihood.scale, SharedScale)
    assert sigma == pytest.approx(0.25 / 17, rel=1e-5)
    assert sigma > model.likelihood.scale.floor or dtype == torch.float32
    eigenvalues = np.linalg.eigvalsh(np.cov(images.flatten(1).T.double().numpy() / 16, bias=True))[:-21:-1]
    lengths = np.sqrt(np.clip(eigenvalues - sigma**2, 0, None))
    np.testing.assert_allclose(weight.norm(dim=0).numpy(), lengths, atol=1e-4)
    with torch.no_grad():
        scores = sum(model.parts(images, generator(0, "parts"), torch.no_grad))
        posterior = model.posterior(images)
    assert torch.as_tensor(scores).isfinite().all()
    silent = torch.from_numpy(lengths == 0)
    torch.testing.assert_close(posterior.stddev[0, silent], torch.ones(int(silent.sum()), dtype=dtype))
    # an image in the data is where the density is high
    normal = stats.multivariate_normal(mean.numpy(), covariance_of(weight, sigma))
    with torch.no_grad():
        expected = normal.logpdf(images.flatten(1).double().numpy() / 16)
        np.testing.assert_allclose(model.log_density(images).double().numpy(), expected, atol=0.05)


def test_many_images_are_added_in_parts() -> None:
    """The covariance of more images than are held at once."""
    images = torch.randint(0, 4, (2500, 3, 2, 1), generator=generator(0, "images"), dtype=torch.uint8)
    _, weight, _, sigma = fitted(images, 4, 5)
    expected = np.cov(images.flatten(1).T.double().numpy() / 3, bias=True)
    np.testing.assert_allclose(covariance_of(weight, sigma), expected, atol=1e-6)


def test_weights_load_into_a_model_that_has_seen_nothing() -> None:
    model, *_ = fitted(DIGITS, 17, 3, torch.float32)
    other = PPCA((1, 8, 8), 17, 3)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other.log_density(DIGITS), model.log_density(DIGITS))
        assert torch.equal(other.posterior(DIGITS).mean, model.posterior(DIGITS).mean)


def test_a_rotation_of_latents_is_not_counted() -> None:
    """Of D = 12 and L = 3: W, sigma and mu, without the rotations of three dimensions."""
    assert PPCA((3, 2, 2), 4, 3).parameter_count == 12 * 3 + 1 + 12 - 3
    assert PPCA((1, 2, 2), 4, 1).parameter_count == 4 + 1 + 4


@pytest.mark.parametrize(
    ("shape", "latent_dim", "message"),
    [
        ((1, 2, 2), 4, "^latent_dim=4: must be below the 4 dimensions of an image"),
        ((1, 2, 2), 0, "^latent_dim=0: must be a whole number, at least 1"),
        ((3, 64, 64), 8, "has 12288 dimensions, more than 4096"),
    ],
)
def test_what_has_no_closed_form_is_refused(
    shape: tuple[int, int, int], latent_dim: int, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        PPCA(shape, 4, latent_dim)
