"""The curve of the importance-weighted bound on models whose log p(x) is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.given import given, measure
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.bound import Bound
from vae_likelihoods.metrics.iwae_curve import IWAECurve, matmul_precision, summarise
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

SHAPE, LEVELS, IMAGES = (1, 2, 3), 4, 12


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(3)
    vae = VAE(mlp(SHAPE, 1, 2, hidden=[16]), BetaBinomial(LEVELS, 1), 1)
    for parameter in vae.decoder.parameters():
        parameter.mul_(2.5)
    return vae


@pytest.fixture
def levels() -> Tensor:
    return torch.randint(LEVELS, (IMAGES, *SHAPE), generator=generator(0, "levels"), dtype=torch.uint8)


def measured(metric: IWAECurve | Bound, model: VAE, levels: Tensor) -> Measured:
    return measure(metric, model, given(levels, LEVELS))


def quadrature(model: VAE, levels: Tensor) -> Tensor:
    z = torch.linspace(-8, 8, 2001).reshape(-1, 1, 1)
    log_joint = model.prior().log_prob(z).sum(-1) + model.likelihood.log_mass(model.decode(z), levels)
    return torch.logsumexp(log_joint.double(), 0) + math.log(16 / 2000)


def test_the_curve_falls_to_minus_log_p(model: VAE, levels: Tensor) -> None:
    curve = [1, 10, 100, 10_000]
    result = measured(IWAECurve(curve, 1024), model, levels)
    for lower, higher in itertools.pairwise(curve):
        assert (result.per_image[f"nll_k{lower}_nats"] > result.per_image[f"nll_k{higher}_nats"]).all()
    nll = -quadrature(model, levels).numpy()
    np.testing.assert_allclose(result.per_image["nll_k10000_nats"], nll, atol=0.08)
    assert result.values["nll_k1_nats"] > nll.mean() + 0.1  # type: ignore[operator]
    sizes = [result.values[f"effective_sample_size_k{k}"] for k in curve]
    assert sizes[0] == pytest.approx(1)
    assert all(one <= k for one, k in zip(sizes, curve, strict=True))  # type: ignore[operator]


def test_each_point_says_its_k_and_its_error(model: VAE, levels: Tensor) -> None:
    result = measured(IWAECurve([2, 6], 64), model, levels)
    for k in (2, 6):
        per_image = result.per_image[f"nll_k{k}_nats"]
        assert result.values[f"nll_k{k}_nats"] == pytest.approx(per_image.mean())
        error = per_image.std(ddof=1) / math.sqrt(IMAGES)
        assert result.values[f"nll_k{k}_nats_se"] == pytest.approx(error)
        declared = [each for each in IWAECurve([2, 6], 64).declarations(LEVELS) if f"_k{k}" in each.name]
        assert {each.quantity and each.quantity.importance_samples for each in declared} == {k}
        assert [each.point for each in declared if each.point] == [("samples", k)]


def test_a_curve_of_one_point_is_the_bound(model: VAE, levels: Tensor) -> None:
    one, other = measured(IWAECurve([16], 64), model, levels), measured(Bound(16, 64), model, levels)
    np.testing.assert_array_equal(one.per_image["nll_k16_nats"], other.per_image["nll_nats"])
    assert one.values["effective_sample_size_k16"] == other.values["effective_sample_size"]


def test_no_more_than_asked_is_decoded_together(model: VAE, levels: Tensor) -> None:
    seen: list[int] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    measured(IWAECurve([3, 300], 50), model, levels)
    assert sum(seen) == 300 * IMAGES
    assert max(seen) <= 50


def test_products_are_as_precise_as_asked_and_afterwards_as_before(model: VAE, levels: Tensor) -> None:
    seen: list[str] = []
    model.decoder.register_forward_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    before = torch.get_float32_matmul_precision()
    measured(IWAECurve([4], 64, "medium"), model, levels)
    assert set(seen) == {"medium"}
    with pytest.raises(RuntimeError), matmul_precision("medium"):
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_summary_of_planted_scores() -> None:
    nll, ess = np.array([[3.0, 5.0], [2.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 4.0]])
    assert Measured.of(summarise([1, 8], nll, ess)).values == {
        "nll_k1_nats": 4.0,
        "nll_k1_nats_se": pytest.approx(1.0),
        "effective_sample_size_k1": 1.0,
        "nll_k8_nats": 2.0,
        "nll_k8_nats_se": 0.0,
        "effective_sample_size_k8": 3.0,
    }


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: IWAECurve([], 8), "k"),
        (lambda: IWAECurve([5, 1], 8), "k"),
        (lambda: IWAECurve([1, 1], 8), "k"),
        (lambda: IWAECurve([0, 1], 8), "k"),
        (lambda: IWAECurve([1, 2.5], 8), "k"),  # type: ignore[list-item]
        (lambda: IWAECurve([1], 0), "decoded_at_once"),
        (lambda: IWAECurve([1], 8, "low"), "matmul"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_be(make: Any, key: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()
    assert caught.value.key == key
