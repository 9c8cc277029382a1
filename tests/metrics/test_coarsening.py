"""Masses of blocks of levels against sums over their levels, and against families made for fewer levels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from metrics.given import given
from metrics.given import measure as measure_on
from vae_likelihoods.cells.build import build, likelihoods_for
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.likelihoods.laws.base import Law
from vae_likelihoods.likelihoods.laws.laplace import Laplace
from vae_likelihoods.likelihoods.laws.logistic import Logistic
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.mixture import Mixture
from vae_likelihoods.metrics.coarsening import Coarsening, log_block_masses
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

LIKELIHOODS = Path(__file__).parents[2] / "conf" / "likelihood"
SHAPE = (1, 2, 3)


def random_levels(levels: int, count: int = 20, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randint(levels, (count, *shape), generator=generator(0, "levels"), dtype=torch.uint8)


def seen_at(k: Tensor, fine: int, coarse: int) -> Tensor:
    return torch.tensor([int(level) * coarse // fine for level in k.flatten()]).reshape(k.shape)


@pytest.mark.parametrize(("fine", "fewer"), [(256, [32, 8, 2]), (17, [8, 2]), (10, [6, 3])])
@pytest.mark.parametrize("name", [*likelihoods_for(256)])
@torch.no_grad()
def test_a_block_has_the_mass_of_its_levels(name: str, fine: int, fewer: list[int]) -> None:
    """Over single pixels, whose mass the likelihood says itself."""
    node = OmegaConf.to_container(OmegaConf.load(LIKELIHOODS / f"{name}.yaml"))
    likelihood = build("likelihood", node, levels=fine, channels=1)  # type: ignore[arg-type]
    outputs = torch.randn((12, likelihood.output_channels, 1, 1), generator=generator(0, "outputs"))
    k = random_levels(fine, 12, (1, 1, 1))
    levels = torch.arange(fine)
    pmf = torch.stack([likelihood.log_mass(outputs, level.view(1, 1, 1, 1)) for level in levels], -1)
    masses = list(log_block_masses(likelihood, outputs, k, fewer))
    torch.testing.assert_close(masses[0], likelihood.log_mass(outputs, k))
    for coarse, result in zip(fewer, masses[1:], strict=True):
        inside = seen_at(levels, fine, coarse) == seen_at(k, fine, coarse).view(-1, 1)
        expected = pmf.masked_fill(~inside, -math.inf).double().logsumexp(-1).clamp_max(0)
        torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("law", [Normal(), Laplace()], ids=str)
@pytest.mark.parametrize("coarse", [32, 8, 2])
@torch.no_grad()
def test_wide_bins_are_what_the_family_says_of_fewer_levels(law: Law, coarse: int) -> None:
    """F(upper edge) - F(lower edge) in one step, edges k / K: the same at 8 levels as over 32 bins of 256."""
    fine, at_fewer = (LocationScale(levels, 1, law, scale=0.2, learned=False) for levels in (256, coarse))
    outputs, k = torch.rand((20, *SHAPE), generator=generator(0, "outputs")), random_levels(256)
    *_, log_mass = log_block_masses(fine, outputs, k, [coarse])
    expected = at_fewer.log_mass(outputs, seen_at(k, 256, coarse))
    torch.testing.assert_close(log_mass, expected, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_the_coarse_images_have_all_of_the_mass() -> None:
    likelihood = BetaBinomial(6, 1)
    outputs = torch.randn((1, 2, 1, 2), generator=generator(0, "outputs"))
    corners = torch.tensor([[a, b] for a in (0, 3) for b in (0, 3)], dtype=torch.uint8).view(4, 1, 1, 2)
    *_, masses = log_block_masses(likelihood, outputs, corners, [2])
    assert float(masses.exp().sum()) == pytest.approx(1.0, abs=1e-6)


@torch.no_grad()
def test_a_uniform_pmf_scores_the_logarithm_of_the_levels() -> None:
    """Without information in z, and with a pmf that is uniform: D ln K', whatever the images and k."""
    result = measure(collapsed(), random_levels(8), [4, 2], levels=8)
    for levels in (8, 4, 2):
        assert result.values[f"nll_at_{levels}_levels_nats"] == pytest.approx(6 * math.log(levels), rel=1e-5)
        assert result.values[f"effective_sample_size_at_{levels}_levels"] == pytest.approx(3.0)


@torch.no_grad()
def test_fewer_levels_never_cost_more() -> None:
    """With the same draws, image by image: a block holds the level itself."""
    torch.manual_seed(0)
    model = VAE(mlp(SHAPE, 2, 2, hidden=[8]), BetaBinomial(8, 1), 2)
    result = measure(model, random_levels(8), [4, 2], levels=8).per_image
    at = [result[f"nll_at_{levels}_levels_nats"] for levels in (8, 4, 2)]
    assert (at[0] > at[1]).all()
    assert (at[1] > at[2]).all()
    assert (at[2] > 0).all()


@torch.no_grad()
def test_the_unit_says_at_how_many_levels() -> None:
    declared = {each.name: each for each in Coarsening([16, 4, 2], 3, 48).declarations(levels=8)}
    measures = {
        each.quantity.measure for name, each in declared.items() if name.startswith("nll") and each.quantity
    }
    assert measures == {f"nats per image of {levels} levels" for levels in (8, 4, 2)}
    assert declared.keys() == measure(collapsed(), random_levels(8), [4, 2], levels=8).values.keys()


def test_the_score_at_each_number_of_levels_is_a_point_of_that_axis() -> None:
    points = [each.point for each in Coarsening([32, 2], 1, 8).declarations(levels=256) if each.point]
    assert points == [("levels", 256), ("levels", 32), ("levels", 2)]


@torch.no_grad()
def test_where_there_is_nothing_coarser_nothing_is_measured() -> None:
    assert measure(collapsed(), random_levels(8), [16, 8], levels=8).values == {}
    coupled = Mixture(8, 3, Logistic(), components=5, scale=0.1, min_scale=0.1)
    assert not coupled.channels_factorise
    shape = (3, 2, 2)
    model = VAE(mlp(shape, 2, coupled.output_channels, hidden=[8]), coupled, 2)
    assert measure(model, random_levels(8, 4, shape), [4], levels=8).values == {}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"levels": []}, "levels"), ({"levels": [1]}, "levels"), ({"levels": [2, 8]}, "levels"),
        ({"levels": [8, 3]}, "levels"), ({"levels": [8, 8]}, "levels"), ({"samples": 0}, "samples"),
        ({"evaluated_at_once": 0}, "evaluated_at_once"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingError) as caught:
        Coarsening(**{"levels": [8, 2], "samples": 1, "evaluated_at_once": 64, **changes})
    assert caught.value.key == f"{key}"


class Zeros(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(shape))

    def forward(self, batch: Tensor) -> Tensor:
        return self.values.expand(len(batch), *self.values.shape)


def collapsed() -> VAE:
    """Posterior = prior, and a beta-binomial whose outputs are 0: the uniform pmf."""
    return VAE(Networks(Zeros(4), Zeros(2, 2, 3)), BetaBinomial(8, 1), 2)


def measure(model: VAE, images: Tensor, fewer: list[int], levels: int) -> Any:
    return measure_on(Coarsening(fewer, 3, 48), model, given(images, levels))
