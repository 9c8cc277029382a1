"""Independent pixels: entropies, brute force over all images of a tiny alphabet, and draws from the pmf."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from peak_memory import PeakMemory
from vae_likelihoods.errors import SettingError
from vae_likelihoods.models.independent import Independent, draws, level_counts
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator

TINY = [((1, 2, 2), 2), ((1, 2, 2), 3), ((3, 1, 2), 2), ((2, 3, 1), 2)]


def every_image(shape: tuple[int, int, int], levels: int) -> Tensor:
    images = itertools.product(range(levels), repeat=math.prod(shape))
    return torch.tensor(list(images), dtype=torch.uint8).view(-1, *shape)


def skewed(count: int, shape: tuple[int, int, int], levels: int) -> Tensor:
    """Images whose pixels have different histograms."""
    chance = torch.rand((*shape, levels), generator=generator(0, "skewed")) ** 3 + 0.02
    drawn = torch.multinomial(chance.flatten(0, -2), count, replacement=True, generator=generator(1))
    return drawn.T.reshape(count, *shape).to(torch.uint8)


def fitted(train: Tensor, levels: int, smoothing: float = 0.5) -> Independent:
    with default_dtype(torch.float64):
        model = Independent(tuple(train.shape[1:]), levels, smoothing)
    assert model.fit(train, train[:1])
    return model


def test_without_smoothing_train_costs_the_entropies_of_its_pixels() -> None:
    train = skewed(500, (3, 4, 5), 7)
    counts = np.stack([np.bincount(pixel, minlength=7) for pixel in train.flatten(1).numpy().T])
    nats = -fitted(train, 7, smoothing=0).log_mass(train).mean().item()
    assert nats == pytest.approx(stats.entropy(counts, axis=1).sum(), rel=1e-12)


def test_a_level_never_seen_is_impossible_without_smoothing_alone() -> None:
    train = torch.zeros((9, 1, 1, 2), dtype=torch.uint8)
    other = torch.tensor([0, 1], dtype=torch.uint8).view(1, 1, 1, 2)
    assert fitted(train, 2, smoothing=0).log_mass(other).item() == -math.inf
    expected = math.log(9.5 / 10) + math.log(0.5 / 10)
    assert fitted(train, 2).log_mass(other).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("shape", "levels"), TINY)
def test_it_sums_to_1_over_all_images(shape: tuple[int, int, int], levels: int) -> None:
    model = fitted(skewed(30, shape, levels), levels)
    masses = model.scores(every_image(shape, levels)).exp()
    assert masses.sum().item() == pytest.approx(1, rel=1e-12)
    assert masses.max() > 2 * masses.min()


def test_uniform_before_it_is_fitted_and_as_smoothing_grows() -> None:
    train = skewed(50, (1, 3, 3), 5)
    uniform = torch.full((50,), -9 * math.log(5), dtype=torch.float64)
    with default_dtype(torch.float64):
        model = Independent((1, 3, 3), 5, 0.5)
    torch.testing.assert_close(model.log_mass(train), uniform, rtol=1e-12, atol=0)
    for smoothing in (1e3, 1e6, 1e9):
        off = (fitted(train, 5, smoothing).log_mass(train) - uniform).abs().max()
        assert 0 < off < 9 * 50 * 5 / (5 * smoothing)


@pytest.mark.parametrize(("shape", "levels"), TINY)
def test_given_rows_the_others_have_their_conditional(shape: tuple[int, int, int], levels: int) -> None:
    """log p(x) - log p(lower | upper) is the log of the sum of p over all lower rows."""
    model, images = fitted(skewed(30, shape, levels), levels), every_image(shape, levels)
    whole = model.log_mass(images)
    assert torch.equal(whole, model.log_mass(images, 0))
    for rows in range(1, shape[1] + 1):
        marginal = whole - model.log_mass(images, rows)
        _, group = images[..., :rows, :].flatten(1).unique(dim=0, return_inverse=True)
        sums = torch.zeros(int(group.max()) + 1, dtype=torch.float64).index_add_(0, group, whole.exp())
        torch.testing.assert_close(marginal, sums.log()[group], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_completions_keep_the_given_rows_and_follow_the_pmf(rows: int) -> None:
    model = fitted(skewed(30, (1, 2, 2), 3), 3)
    given = torch.tensor([2, 1, 0, 0], dtype=torch.uint8).view(1, 1, 2, 2)
    before = given.clone()
    images = model.complete(given.expand(20_000, -1, -1, -1), rows, generator(0, "complete"))
    assert images.dtype == torch.uint8
    assert torch.equal(given, before)
    assert (images[..., :rows, :] == given[..., :rows, :]).all()
    every = every_image((1, 2, 2), 3)
    possible = every[(every[..., :rows, :] == given[..., :rows, :]).flatten(1).all(1)]
    counts = (images.flatten(1)[:, None] == possible.flatten(1)).all(2).sum(0)
    expected = 20_000 * model.log_mass(possible, rows).exp()
    if rows < 2:
        assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4
    else:
        assert counts.tolist() == [20_000]


def test_a_level_of_mass_0_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even at the ends, where a rounded cdf begins at 0 and may end below 1."""
    mass = torch.tensor([[0.0, 0.1, 0.0, 0.2, 0.0], [0.7, 0.0, 0.0, 0.1, 0.0], [0.0, 0.0, 1e-9, 0.0, 0.0]])
    drawn = draws(mass, 10_000, generator(0))
    assert [row.unique().tolist() for row in drawn] == [[1, 3], [0, 3], [2]]
    ends = torch.tensor([0.0, 1 - 2.0**-24]).expand(3, 2)
    monkeypatch.setattr(torch, "rand", lambda *shape, **settings: ends.contiguous())
    assert draws(mass, 2, generator(0)).tolist() == [[1, 3], [0, 3], [2, 2]]


def test_an_image_of_256_levels_is_drawn_in_little_memory() -> None:
    """Nothing of the size images x pixels x levels is made: that would be 205 MB."""
    model = Independent((1, 28, 28), 256, 0.5)
    with PeakMemory() as memory:
        model.draw(256, generator(0))
    assert memory.peak < 10e6


def test_counting_many_images_takes_no_more_memory() -> None:
    peaks = []
    for count in (8_000, 16_000):
        images = torch.zeros(1, dtype=torch.uint8).expand(count, 1, 28, 28)
        with PeakMemory() as memory:
            assert level_counts(images, 4).sum() == count * 784
        peaks.append(memory.peak)
    assert peaks[1] < 1.05 * peaks[0]


def test_the_state_is_all_that_was_learned() -> None:
    train = skewed(40, (3, 2, 2), 5)
    model, other = fitted(train, 5), Independent((3, 2, 2), 5, 0.5).double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_mass(train), model.log_mass(train))
    assert model.parameter_count == 12 * 4


@pytest.mark.parametrize("smoothing", [-0.1, math.inf, math.nan, None, "much"])
def test_impossible_smoothing_is_refused(smoothing: object) -> None:
    with pytest.raises(SettingError, match=rf"^smoothing={smoothing}: must be a number, 0 or more"):
        Independent((1, 2, 2), 3, smoothing)
