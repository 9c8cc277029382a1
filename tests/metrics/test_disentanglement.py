"""No number where there are classes alone; the right ones where there are factors."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from families import gaussian
from metrics.given import given, measure
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.disentanglement import Disentanglement
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.seeding import generator

GOOD = {"bins": 4, "trees": 5, "batch_size": 64}


class Turned(nn.Module):
    """The two pixels as posterior means, turned by an angle in degrees."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        angle = torch.deg2rad(torch.tensor(degrees))
        self.turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)

    def forward(self, points: Tensor) -> Tensor:
        flat = points.flatten(1) @ self.turn
        return torch.cat([flat, torch.zeros_like(flat)], 1)


def measured(degrees: float, labelled: bool = True) -> Measured:
    """Measure a model whose latents are the factors, two pixels of four levels, turned."""
    images = [torch.randint(4, (300, 1, 1, 2), generator=generator(0, name)) for name in ("train", "test")]
    train, test = (Levels(each.byte(), each.flatten(1), 4, 4) for each in images)
    labels = test.labels if labelled else test.labels[:, 0]
    model = VAE(Networks(Turned(degrees), nn.Unflatten(-1, (1, 1, 2))), gaussian(4, 1, scale=0.1), 2)
    return measure(Disentanglement(**GOOD), model, given(test.images, 4, labels, train=train), "m")


def test_latents_that_are_the_factors_are_disentangled() -> None:
    assert measured(0.0).values == pytest.approx(
        {"mig": 1.0, "dci_disentanglement": 1.0, "dci_completeness": 1.0, "dci_informativeness": 1.0},
        abs=0.05,
    )


def test_latents_that_mix_the_factors_are_not() -> None:
    """By 45 degrees both latents know as much of both factors, and together still all of them."""
    result = measured(45.0).values
    assert result["mig"] < 0.1  # type: ignore[operator]
    assert result["dci_disentanglement"] < 0.1  # type: ignore[operator]
    assert result["dci_completeness"] < 0.1  # type: ignore[operator]
    assert result["dci_informativeness"] > 0.9  # type: ignore[operator]


def test_classes_give_no_number_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert measured(0.0, labelled=False).values == {}
    assert "classes but no factors" in caplog.text


@pytest.mark.parametrize(("key", "value"), [("bins", 1), ("trees", 0), ("batch_size", 0)])
def test_settings_that_cannot_be(key: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Disentanglement(**{**GOOD, key: value})
    assert caught.value.key == f"{key}"
