"""Pictures, pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.recipes.figures import GAP, PAPER, image_grid, kl_bars, reconstructions, samples
from vae_likelihoods.seeding import seeded


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


@pytest.fixture
def model() -> VAE:
    with seeded(0, "weights"):
        return VAE(mlp((1, 3, 4), 2, 1, hidden=[8]), Bernoulli(2, 1), 2)


@pytest.mark.parametrize("channels", [2, 4, 5, 28])
def test_a_grid_takes_no_channel_for_transparency(channels: int) -> None:
    with pytest.raises(
        SettingError, match=f"channels={channels}: a picture has one of grey or three of colour"
    ):
        image_grid(torch.rand(6, channels, 8, 8), 3)


def test_grid_pixel_by_pixel() -> None:
    """Three images of 1x2 pixels in two columns: the fourth place stays paper."""
    images = torch.tensor([[0.0, 1.0], [0.5, 0.2], [-3.0, 7.0]]).reshape(3, 1, 1, 2)
    w = PAPER
    expected = [
        [0, 255, w, w, 128, 51],
        [w, w, w, w, w, w],
        [w, w, w, w, w, w],
        [0, 255, w, w, w, w],
    ]
    grid = image_grid(images, columns=2, scale=1)
    assert GAP == 2
    assert grid.mode == "L"
    assert np.asarray(grid).tolist() == expected


def test_grid_is_scaled_by_repeating_pixels() -> None:
    images = torch.rand(5, 1, 3, 4)
    small, large = (np.asarray(image_grid(images, columns=3, scale=scale)) for scale in (1, 3))
    assert large.shape == (small.shape[0] * 3, small.shape[1] * 3)
    assert np.array_equal(large[::3, ::3], small)
    assert np.array_equal(large[2::3, 1::3], small)


def test_grid_in_colour() -> None:
    red_then_blue = torch.zeros(2, 3, 1, 1)
    red_then_blue[0, 0], red_then_blue[1, 2] = 1.0, 1.0
    grid = image_grid(red_then_blue, columns=2, scale=1)
    assert grid.mode == "RGB"
    white = [PAPER] * 3
    assert np.asarray(grid).tolist() == [[[255, 0, 0], white, white, [0, 0, 255]]]


def test_samples_are_the_same_bytes_for_a_seed_and_leave_the_model_alone(model: VAE) -> None:
    first, again, other = (png(samples(model, seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert samples(model, 0, rows=2, columns=3).size == (2 * (3 * 4 + 2 * GAP), 2 * (2 * 3 + GAP))
    assert all(parameter.grad is None for parameter in model.parameters())


class Inverting(nn.Module):
    """Sends points x to latents x (with any scale); its decoder gives logits that mean 1 - x."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        flat = points.flatten(1)
        return torch.cat([flat, torch.zeros_like(flat)], 1)


def test_reconstructions_lie_below_their_originals() -> None:
    """Two rows of two: originals, then below each its negative."""
    decoder = nn.Sequential(nn.Linear(1, 1), nn.Unflatten(-1, (1, 1, 1)))
    model = VAE(Networks(Inverting(), decoder), Bernoulli(2, 1), 1)
    with torch.no_grad():
        decoder[0].weight.fill_(-200.0)
        decoder[0].bias.fill_(100.0)
    levels = torch.tensor([0, 1, 1, 1], dtype=torch.uint8).reshape(4, 1, 1, 1)
    grid = np.asarray(reconstructions(model, levels, 0, rows=2, columns=2))[::2, ::2]
    assert grid[:: 1 + GAP, :: 1 + GAP].tolist() == [[0, 255], [255, 0], [255, 255], [0, 0]]


@pytest.mark.parametrize(("count", "rows", "columns"), [(3, 1, 3), (8, 1, 8), (11, 1, 8), (100, 4, 8)])
def test_reconstructions_of_few_images_fill_whole_rows(
    model: VAE, count: int, rows: int, columns: int
) -> None:
    levels = torch.ones(count, 1, 3, 4, dtype=torch.uint8)
    width, height = reconstructions(model, levels, 0).size
    assert width == 2 * (columns * (4 + GAP) - GAP)
    assert height == 2 * (2 * rows * (3 + GAP) - GAP)


@pytest.mark.parametrize("rates", [[0.5, 3.0, 0.0], [1.0], [0.0] * 64, []])
def test_bars_are_the_same_bytes_each_time(rates: list[float]) -> None:
    first = kl_bars(rates)
    assert png(first) == png(kl_bars(rates))
    assert first.mode == "RGB"
    assert first.size == (480, 240)


def test_bars_are_sorted_and_say_how_high_they_are() -> None:
    assert png(kl_bars([1.0, 2.0, 3.0])) == png(kl_bars([3.0, 1.0, 2.0]))
    assert png(kl_bars([1.0, 2.0, 3.0])) != png(kl_bars([1.0, 2.0, 4.0]))
