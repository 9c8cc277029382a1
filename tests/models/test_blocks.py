"""Blocks of bounded memory: the same numbers whatever their size, and no more bytes than they may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import compositions
from metrics.given import given, measure
from metrics.test_metrics import METRICS
from peak_memory import PeakMemory
from vae_likelihoods.cells.build import build
from vae_likelihoods.likelihoods.base import UnsupportedLevels
from vae_likelihoods.models import blocks
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.conv import conv
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator, seeded

IMAGES, DRAWS, LATENTS = 5, 7, 2
NETWORKS: dict[str, Callable[[tuple[int, int, int], int], Networks]] = {
    "mlp": lambda shape, outputs: mlp(shape, LATENTS, outputs, hidden=[16]),
    "conv": lambda shape, outputs: conv(shape, LATENTS, outputs, widths=[8, 16], hidden=16),
}


def made(name: str, shape: tuple[int, int, int], levels: int = 5, network: str = "mlp") -> VAE:
    try:
        likelihood = compositions.build(name, levels, channels=shape[0])
    except UnsupportedLevels:
        likelihood = compositions.build(name, 2, channels=shape[0])
    with seeded(0, "weights"):
        return VAE(NETWORKS[network](shape, likelihood.output_channels), likelihood, LATENTS).requires_grad_(
            False
        )


def images_of(model: VAE, shape: tuple[int, int, int], count: int = IMAGES) -> Tensor:
    drawn = generator(0, "levels")
    return torch.randint(model.likelihood.levels, (count, *shape), generator=drawn, dtype=torch.uint8)


def holding(model: VAE, images: int) -> int:
    """Return the bytes in which so many images are decoded at once."""
    return blocks.BYTES // blocks.images_decoded_at_once(model) * images + 1000


@pytest.mark.parametrize("at_once", [1, 3, 11])
@pytest.mark.parametrize("name", compositions.CONFIGS)
def test_scores_and_slopes_are_those_of_one_block(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64: what a block is must not depend on how matrix products of other sizes round."""
    shape = (3, 4, 4)
    model = made(name, shape).double()
    levels = images_of(model, shape)
    z = torch.randn((DRAWS, IMAGES, LATENTS), generator=generator(0, "z"), dtype=torch.float64)

    def computed() -> list[Tensor]:
        asked = z.clone().requires_grad_()
        scores = blocks.log_mass(model, asked, levels)
        (slopes,) = torch.autograd.grad((scores * torch.arange(IMAGES)).sum(), asked)
        posterior = blocks.encoded(model, levels)
        return [scores.detach(), slopes, blocks.means(model, z[0]), posterior.mean, posterior.stddev]

    whole = computed()
    monkeypatch.setattr(blocks, "BYTES", holding(model, at_once))
    assert blocks.images_decoded_at_once(model) == at_once
    for part, same in zip(computed(), whole, strict=True):
        torch.testing.assert_close(part, same, rtol=1e-8, atol=1e-9)


SMALLER: dict[str, dict[str, Any]] = {
    "bound": {"samples": 16},
    "ais": {"images": 3, "chains": 4, "temperatures": 3, "leapfrog_steps": 2, "samples": 8},
    "inference_gap": {
        "images": 4,
        "chains": 4,
        "temperatures": 3,
        "leapfrog_steps": 2,
        "samples": 8,
        "steps": 2,
        "draws": 4,
    },
    "reconstruction": {},
    "information": {},
}


@pytest.mark.parametrize("name", SMALLER)
def test_a_metric_draws_the_same_whatever_the_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (1, 4, 4)
    model = made("beta_binomial", shape)
    data = given(images_of(model, shape), model.likelihood.levels)
    metric = build(f"metric.{name}", {**METRICS[name], **SMALLER[name]})
    whole = measure(metric, model, data)
    monkeypatch.setattr(blocks, "BYTES", holding(model, 3))
    parts = measure(metric, model, data)
    assert parts.values.keys() == whole.values.keys()
    for number, value in whole.values.items():
        assert parts.values[number] == pytest.approx(value, rel=1e-4, abs=1e-4), number


@pytest.mark.parametrize("gradient", [False, True], ids=["scores", "slopes"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["logistic_mixture", "binomial", "categorical"])
def test_memory_is_bounded_by_bytes_and_not_by_the_shape(
    name: str, network: str, gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixture on colour images of 64 x 64, with as many draws as would take three times the memory."""
    shape = (3, 64, 64)
    model = made(name, shape, levels=256, network=network)
    levels = images_of(model, shape, 2)
    monkeypatch.setattr(blocks, "BYTES", holding(model, 6))
    z = torch.randn((9, 2, LATENTS), generator=generator(0, "z")).requires_grad_(gradient)
    with PeakMemory() as memory, torch.set_grad_enabled(gradient):
        blocks.log_mass(model, z, levels)
    assert memory.peak < 1.1 * blocks.BYTES
    with PeakMemory() as memory, torch.no_grad():
        blocks.means(model, z[:, 0].detach())
    assert memory.peak < 1.1 * blocks.BYTES
