"""The lower rows given the upper ones, against quadrature over one latent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.given import given, measure
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.inference.completion import borrowed, completed, resampled
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.metrics.completion import Completion
from vae_likelihoods.models.independent import Independent
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator, seeded

SHAPE = (1, 2, 3)
ROWS = 1


@pytest.fixture(scope="module")
def model() -> VAE:
    with seeded(0, "weights"), default_dtype(torch.float64):
        vae = VAE(mlp(SHAPE, 1, 1, [6]), Bernoulli(2, 1), 1).double()
        with torch.no_grad():
            for parameter in vae.decoder.parameters():
                parameter.mul_(4)  # so that z matters
    return vae.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def levels() -> Tensor:
    return torch.randint(2, (6, *SHAPE), dtype=torch.uint8, generator=generator(0, "images"))


@pytest.fixture(scope="module")
def train() -> Tensor:
    return torch.randint(2, (40, *SHAPE), dtype=torch.uint8, generator=generator(0, "train"))


def by_quadrature(model: VAE, levels: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return log p(upper rows), and E[z | upper rows]: [B] each."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    outputs = model.decode(z[:, None, None].expand(-1, 1, 1))[..., :rows, :]
    log_joint = model.likelihood.log_mass(outputs, levels[..., :rows, :]) + model.prior().log_prob(z)[:, None]
    log_upper = log_joint.logsumexp(0) + math.log(16 / 4000)
    return log_upper, (log_joint.softmax(0) * z[:, None]).sum(0)


def test_lower_rows_are_borrowed_from_the_nearest_upper_ones(levels: Tensor, train: Tensor) -> None:
    lent = borrowed(levels, train, ROWS, 3)
    assert lent.shape == (3, 6, *SHAPE)
    assert torch.equal(lent[..., :ROWS, :], levels[..., :ROWS, :].expand(3, 6, 1, ROWS, 3))
    apart = (train[None, :, :, :ROWS].int() - levels[:, None, :, :ROWS].int()).square().sum((-3, -2, -1))
    for image in range(6):
        allowed = train[apart[image] <= apart[image].sort().values[2]][..., ROWS:, :]
        for each in lent[:, image, :, ROWS:]:
            assert (allowed == each).flatten(1).all(1).any()


def test_the_bound_on_the_upper_rows_is_below_their_probability_and_near_it(
    model: VAE, levels: Tensor, train: Tensor
) -> None:
    exact, _ = by_quadrature(model, levels, ROWS)
    proposals = borrowed(levels, train, ROWS, 4)
    few = torch.stack(
        [resampled(model, levels, ROWS, proposals, 1, generator(s, "z")).log_upper for s in range(100)]
    )
    error = few.std(0) / math.sqrt(100)
    assert (few.mean(0) < exact + 4 * error).all()
    many = resampled(model, levels, ROWS, proposals, 20_000, generator(0, "z"))
    torch.testing.assert_close(many.log_upper, exact, atol=0.02, rtol=0)
    assert ((many.effective_sample_size > 1) & (many.effective_sample_size <= 80_000)).all()


def test_latents_are_resampled_from_the_posterior_of_the_upper_rows(
    model: VAE, levels: Tensor, train: Tensor
) -> None:
    _, mean = by_quadrature(model, levels, ROWS)
    count = 3000
    many = levels[:, None].expand(-1, count, *SHAPE).flatten(0, 1)
    z = resampled(model, many, ROWS, borrowed(many, train, ROWS, 4), 50, generator(0, "z")).z
    found = z.view(6, count)
    assert ((found.mean(1) - mean).abs() < 5 * found.std(1) / math.sqrt(count) + 0.02).all()


def test_what_stands_below_is_not_read(model: VAE, levels: Tensor, train: Tensor) -> None:
    other = levels.clone()
    other[..., ROWS:, :] = 1 - other[..., ROWS:, :]
    first, second = (completed(model, each, ROWS, train, generator(0, "draw")) for each in (levels, other))
    assert torch.equal(first, second)
    assert torch.equal(first[..., :ROWS, :], levels[..., :ROWS, :])
    assert first.dtype == torch.uint8


def test_the_metric_is_near_the_conditional_probability(model: VAE, levels: Tensor, train: Tensor) -> None:
    data = given(levels, 2, train=Levels(train, None, 2, 2))
    found = measure(Completion(6, 4, 4000, 1 << 20), model, data).values
    whole, _ = by_quadrature(model, levels, 2)
    upper, _ = by_quadrature(model, levels, ROWS)
    expected = float((upper - whole).mean()) / (3 * math.log(2))
    assert found["completion_bits"] == pytest.approx(expected, abs=0.02)


def test_the_metric_is_exact_for_a_model_that_gives_p(levels: Tensor, train: Tensor) -> None:
    model = Independent(SHAPE, 2, 0.5)
    model.fit(train, levels)
    data = given(levels, 2, train=Levels(train, None, 2, 2))
    found = measure(Completion(6, 4, 4, 64), model, data)
    expected = -model.log_mass(levels, ROWS).double().numpy() / (3 * np.log(2))
    assert found.values["completion_bits"] == pytest.approx(expected.mean(), rel=1e-5)
    assert "completion_effective_draws" in found.missing


def test_images_of_one_row_have_no_lower_half(train: Tensor) -> None:
    flat = train[..., :1, :]
    model = Independent((1, 1, 3), 2, 0.5)
    found = measure(Completion(6, 4, 4, 64), model, given(flat, 2))
    assert set(found.missing) == {each.name for each in Completion(6, 4, 4, 64).declarations(2)}


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingError, match="neighbours=0"):
        Completion(2, 0, 4, 64)
