"""No number and a reason where there are classes alone; the right numbers where there are factors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from families import gaussian
from metrics.given import given, measure
from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.disentanglement import Disentanglement
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.mlp import mlp
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
    labels = [each.flatten(1) if labelled else each.flatten(1)[:, 0] for each in images]
    train, test = (Levels(x.byte(), y, 4, 4) for x, y in zip(images, labels, strict=True))
    model = VAE(Networks(Turned(degrees), nn.Unflatten(-1, (1, 1, 2))), gaussian(4, 1, scale=0.1), 2)
    model.register_parameter("any", nn.Parameter(torch.zeros(())))  # a model has the type of its weights
    return measure(Disentanglement(**GOOD), model, given(test.images, 4, test.labels, train=train), "m")


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


class Squares(Source):
    """A square in each of 20 places and 6 shades: labels are its row, its column and its shade."""

    def download(self, folder: Path) -> list[str]:
        return []

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        factors = np.stack(np.meshgrid(range(4), range(5), range(6), indexing="ij"), -1).reshape(-1, 3)
        images = np.zeros((len(factors), 1, 8, 8), np.uint8)
        for image, (row, column, shade) in zip(images, factors, strict=True):
            image[0, row : row + 2, column : column + 2] = 40 * (shade + 1)
        return {"train": LabelledArrays(images, factors)}


def test_a_prepared_data_set_of_factors_is_measured(tmp_path: Path) -> None:
    prepare(Squares("squares", 256, 20, 20, 0), tmp_path, tmp_path / "squares")
    prepared = PreparedDataset(tmp_path / "squares")
    model = VAE(mlp(prepared.shape, 2, 1, hidden=[8]), gaussian(256, 1, scale=0.1), 2)
    data = Data(prepared, 256, "threshold", torch.device("cpu"), lambda name, compute: compute(prepared))
    result = measure(Disentanglement(**GOOD), model, data)
    assert result.missing == {}
    assert sorted(result.values) == ["dci_completeness", "dci_disentanglement", "dci_informativeness", "mig"]


def test_classes_give_no_number_and_the_reason() -> None:
    result = measured(0.0, labelled=False)
    assert result.values == {}
    assert set(result.missing.values()) == {"the labels are classes, not factors"}
    assert len(result.missing) == 4


def test_what_is_1_whatever_the_model_is_missing() -> None:
    """Of one factor, or one latent, nothing can be mixed; a factor of one value cannot be told apart."""
    metric, rng = Disentanglement(**GOOD), np.random.default_rng(0)
    codes, values = rng.normal(size=(60, 2)), rng.integers(3, size=(60, 2))

    def missing(codes: np.ndarray, factors: np.ndarray) -> dict[str, str]:
        return Measured.of(metric.summarise((codes, factors), (codes, factors))).missing

    assert missing(codes, values) == {}
    assert missing(codes, values[:, :1]) == {"dci_disentanglement": "there is one factor"}
    assert missing(codes[:, :1], values) == {"dci_completeness": "there is one latent"}
    assert missing(codes, 0 * values) == {"mig": "no factor varies in test"}


@pytest.mark.parametrize(("key", "value"), [("bins", 1), ("trees", 0), ("batch_size", 0)])
def test_settings_that_cannot_be(key: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Disentanglement(**{**GOOD, key: value})
    assert caught.value.key == f"{key}"
