"""Where a scale comes from, how small it can become, and how impossible settings are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.laws.base import Law
from vae_likelihoods.likelihoods.laws.laplace import Laplace
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.logit_location_scale import LogitLocationScale
from vae_likelihoods.likelihoods.mixture import Mixture
from vae_likelihoods.likelihoods.scales import FixedScale, PixelScale, SharedScale, scale_source
from vae_likelihoods.likelihoods.truncated import Truncated


def test_a_fixed_scale_is_its_value_and_nothing_to_learn():
    scale = FixedScale(0.3)
    assert scale.of(()).item() == pytest.approx(0.3)
    assert scale.of(()).ndim == 0
    assert scale.outputs == 0
    assert list(scale.parameters()) == []
    assert scale.state_dict() == {}
    assert scale.summary() == {}


@pytest.mark.parametrize("value", [0.005, 0.1, 3.0])
def test_a_shared_scale_starts_where_told_and_is_one_number(value: float):
    scale = SharedScale(value, min_scale=0.25, levels=256)
    assert scale.of(()).item() == pytest.approx(value, rel=1e-6)
    assert scale.of(()).ndim == 0
    assert scale.outputs == 0
    assert [parameter.ndim for parameter in scale.parameters()] == [0]
    assert scale.summary() == {"scale": pytest.approx(value, rel=1e-6)}


@pytest.mark.parametrize(("least", "levels"), [(0.25, 256), (0.1, 17), (1.0, 2)])
def test_a_learned_scale_stays_above_its_part_of_a_bin(least: float, levels: int):
    floor = least / levels
    shared, of_pixel = (kind(0.7, least, levels) for kind in (SharedScale, PixelScale))
    with torch.no_grad():
        shared.log_excess.fill_(-1e4)
    assert shared.of(()).item() == pytest.approx(floor, rel=1e-6)
    lowest = of_pixel.of([torch.tensor([-1e6, -1e30])])
    torch.testing.assert_close(lowest, torch.full((2,), floor + (0.7 - floor) * 1e-4))


def test_the_scale_of_a_pixel_follows_its_output():
    """floor + (start - floor) exp(h tanh(raw / h)), h = log 1e4."""
    scale = PixelScale(0.1, min_scale=0.25, levels=256)
    raw = torch.tensor([[-1e9, -30.0, -2.0], [0.0, 1.5, 40.0]], dtype=torch.float64)
    floor, bound = 0.25 / 256, math.log(1e4)
    expected = floor + (0.1 - floor) * torch.exp(bound * torch.tanh(raw / bound))
    torch.testing.assert_close(scale.of([raw]), expected, rtol=1e-12, atol=0)
    assert scale.of([raw])[1, 0].item() == pytest.approx(0.1, rel=1e-12)
    assert scale.outputs == 1
    assert list(scale.parameters()) == []
    assert scale.summary() == {}


def test_the_slope_of_the_scale_of_a_pixel():
    scale = PixelScale(0.1, min_scale=0.25, levels=256)
    raw = torch.linspace(-12, 12, 97, dtype=torch.float64).requires_grad_()
    value = scale.of([raw])
    (expected,) = torch.autograd.grad(value.sum(), raw)
    again, slope = scale.with_slope([raw.detach()])
    torch.testing.assert_close(again, value.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-12)
    with pytest.raises(TypeError, match="FixedScale"):
        FixedScale(0.1).with_slope([raw])


def test_a_scale_is_fixed_or_learned_for_all_pixels_or_for_each():
    assert isinstance(scale_source(0.1, None, learned=False, per_pixel=False, levels=256), FixedScale)
    assert isinstance(scale_source(0.1, 0.1, learned=True, per_pixel=False, levels=256), SharedScale)
    assert isinstance(scale_source(0.1, 0.1, learned=True, per_pixel=True, levels=256), PixelScale)


FAMILIES = (LocationScale, LogitLocationScale, Truncated)
each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
@pytest.mark.parametrize("law", [Normal(), Laplace()], ids=str)
@pytest.mark.parametrize("per_pixel", [False, True])
def test_a_family_takes_its_scale_from_where_told(family: Callable, law: Law, per_pixel: bool):
    likelihood = family(256, 3, law, scale=0.2, min_scale=0.25, per_pixel=per_pixel)
    assert likelihood.output_channels == (6 if per_pixel else 3)
    assert likelihood.summary() == ({} if per_pixel else {"scale": pytest.approx(0.2)})
    assert len(list(likelihood.parameters())) == (0 if per_pixel else 1)
    outputs = torch.zeros(1, likelihood.outputs_per_channel, 3, 1, 1)
    _, scale = likelihood._mean_and_scale(outputs)
    torch.testing.assert_close(scale, torch.full((1, 3, 1, 1) if per_pixel else (), 0.2))


@each_family
def test_a_family_may_have_a_fixed_scale(family: Callable):
    likelihood = family(256, 3, Laplace(), scale=0.2, learned=False)
    assert likelihood.output_channels == 3
    assert likelihood.summary() == {}
    assert list(likelihood.parameters()) == []
    _, scale = likelihood._mean_and_scale(torch.zeros(1, 1, 3, 1, 1))
    torch.testing.assert_close(scale, torch.tensor(0.2))


def refusal(family: Callable, **settings: object) -> str:
    with pytest.raises(SettingError) as caught:
        family(17, 1, **{"law": Normal(), "scale": 0.1, "min_scale": 0.1, **settings})
    return str(caught.value)


@each_family
@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, 1e9, 1e-9, "wide", None])
def test_an_impossible_start_is_refused_with_its_range(family: Callable, value: object):
    message = refusal(family, scale=value)
    assert message.startswith(f"scale={value}: ")
    assert "1e-08 .. 1e+08 of the [0, 1] range" in message


@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, 1e9, 1e-9, "wide", None])
def test_an_impossible_fixed_scale_is_refused_with_its_range(value: object):
    message = refusal(LocationScale, scale=value, min_scale=None, learned=False)
    assert message.startswith(f"scale={value}: ")
    assert "1e-08 .. 1e+08 of the [0, 1] range" in message


@each_family
@pytest.mark.parametrize("least", [0, -1, math.nan, math.inf, 1e-9, "small", None])
def test_an_impossible_floor_is_refused_with_its_range(family: Callable, least: object):
    message = refusal(family, min_scale=least)
    assert message.startswith(f"min_scale={least}: ")
    assert "part of a bin, at least 1.7e-07" in message


@each_family
def test_a_start_at_or_below_its_floor_is_refused_with_both(family: Callable):
    for start in (0.05, 0.5 / 17):
        message = refusal(family, scale=start, min_scale=start * 17)
        assert message.startswith(f"scale={start}: ")
        assert f"above min_scale / K = {start:.4g}" in message


@each_family
@pytest.mark.parametrize("key", ["learned", "per_pixel"])
@pytest.mark.parametrize("value", ["yes", 1, None])
def test_a_doubtful_source_is_refused_with_the_choices(family: Callable, key: str, value: object):
    message = refusal(family, **{key: value})
    assert message.startswith(f"{key}={value}: ")
    assert message.endswith("Choices: True, False.")


@each_family
@pytest.mark.parametrize(("key", "value"), [("min_scale", 0.1), ("per_pixel", True)])
def test_a_fixed_scale_has_no_setting_of_a_learned_one(family: Callable, key: str, value: object):
    message = refusal(family, **{"learned": False, "min_scale": None, key: value})
    assert message.startswith(f"{key}={value}: a fixed scale")


@each_family
@pytest.mark.parametrize("law", [None, "laplace", {"_target_": "Laplace"}, Laplace])
def test_what_is_no_law_is_refused(family: Callable, law: object):
    assert refusal(family, law=law).startswith(f"law={law}: must be a law")


def test_a_mixture_has_the_same_ranges():
    mixture = partial(Mixture, components=5)
    assert "1e-08 .. 1e+08" in refusal(mixture, scale=0)
    assert "part of a bin" in refusal(mixture, min_scale=0)
    assert "above min_scale / K = 0.02941" in refusal(mixture, scale=0.01, min_scale=0.5)
