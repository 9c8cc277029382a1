"""Where a scale comes from, how small it can become, and what is said of settings that cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.gaussian import Gaussian, LearnedGaussian
from vae_likelihoods.likelihoods.laplace import Laplace
from vae_likelihoods.likelihoods.logistic import Logistic
from vae_likelihoods.likelihoods.logistic_mixture import LogisticMixture
from vae_likelihoods.likelihoods.logit_normal import LogitNormal
from vae_likelihoods.likelihoods.scales import FixedScale, PixelScale, SharedScale, learned_scale
from vae_likelihoods.likelihoods.student_t import StudentT
from vae_likelihoods.likelihoods.truncated_gaussian import TruncatedGaussian


def test_a_fixed_scale_is_its_value_and_nothing_to_learn():
    scale = FixedScale("sigma", 0.3)
    assert scale.of(()).item() == pytest.approx(0.3)
    assert scale.of(()).ndim == 0
    assert scale.outputs == 0
    assert list(scale.parameters()) == []
    assert scale.state_dict() == {}
    assert scale.summary("sigma") == {}


@pytest.mark.parametrize("value", [0.005, 0.1, 3.0])
def test_a_shared_scale_starts_where_told_and_is_one_number(value: float):
    scale = SharedScale("scale", value, least=0.25, levels=256)
    assert scale.of(()).item() == pytest.approx(value, rel=1e-6)
    assert scale.of(()).ndim == 0
    assert scale.outputs == 0
    assert [parameter.ndim for parameter in scale.parameters()] == [0]
    assert scale.summary("scale") == {"scale": pytest.approx(value, rel=1e-6)}


@pytest.mark.parametrize(("least", "levels"), [(0.25, 256), (0.1, 17), (1.0, 2)])
def test_a_learned_scale_stays_above_its_part_of_a_bin(least: float, levels: int):
    floor = least / levels
    shared, of_pixel = (kind("scale", 0.7, least, levels) for kind in (SharedScale, PixelScale))
    with torch.no_grad():
        shared.log_excess.fill_(-1e4)
    assert shared.of(()).item() == pytest.approx(floor, rel=1e-6)
    lowest = of_pixel.of([torch.tensor([-1e6, -1e30])])
    torch.testing.assert_close(lowest, torch.full((2,), floor + (0.7 - floor) * 1e-4))


def test_the_scale_of_a_pixel_follows_its_output():
    """floor + (start - floor) exp(h tanh(raw / h)), h = log 1e4."""
    scale = PixelScale("scale", 0.1, least=0.25, levels=256)
    raw = torch.tensor([[-1e9, -30.0, -2.0], [0.0, 1.5, 40.0]], dtype=torch.float64)
    floor, bound = 0.25 / 256, math.log(1e4)
    expected = floor + (0.1 - floor) * torch.exp(bound * torch.tanh(raw / bound))
    torch.testing.assert_close(scale.of([raw]), expected, rtol=1e-12, atol=0)
    assert scale.of([raw])[1, 0].item() == pytest.approx(0.1, rel=1e-12)
    assert scale.outputs == 1
    assert list(scale.parameters()) == []
    assert scale.summary("scale") == {}


def test_the_slope_of_the_scale_of_a_pixel():
    scale = PixelScale("scale", 0.1, least=0.25, levels=256)
    raw = torch.linspace(-12, 12, 97, dtype=torch.float64).requires_grad_()
    value = scale.of([raw])
    (expected,) = torch.autograd.grad(value.sum(), raw)
    found, slope = scale.with_slope([raw.detach()])
    torch.testing.assert_close(found, value.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-12)
    with pytest.raises(TypeError, match="FixedScale"):
        FixedScale("scale", 0.1).with_slope([raw])


def test_a_scale_is_learned_for_all_pixels_or_for_each():
    assert isinstance(learned_scale(False, "scale", 0.1, 0.1, 256), SharedScale)
    assert isinstance(learned_scale(True, "scale", 0.1, 0.1, 256), PixelScale)


LEARNED = {
    "sigma": (LearnedGaussian, LogitNormal, TruncatedGaussian),
    "scale": (Laplace, Logistic, StudentT),
}
each_learned = pytest.mark.parametrize(
    ("key", "family"), [(key, family) for key, families in LEARNED.items() for family in families]
)


@each_learned
@pytest.mark.parametrize("per_pixel", [False, True])
def test_a_family_takes_its_scale_from_where_told(key: str, family: Callable, per_pixel: bool):
    likelihood = family(levels=256, channels=3, per_pixel=per_pixel, **{key: 0.2})
    assert likelihood.output_channels == (6 if per_pixel else 3)
    assert likelihood.summary() == ({} if per_pixel else {key: pytest.approx(0.2)})
    assert len(list(likelihood.parameters())) == (0 if per_pixel else 1)
    outputs = torch.zeros(1, likelihood.outputs_per_channel, 3, 1, 1)
    _, scale = likelihood._mean_and_scale(outputs)
    torch.testing.assert_close(scale, torch.full((1, 3, 1, 1) if per_pixel else (), 0.2))


def refusal(family: Callable, **settings: object) -> str:
    with pytest.raises(SettingError) as caught:
        family(levels=17, channels=1, **settings)
    return str(caught.value)


@each_learned
@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, 1e9, 1e-9, "wide", None])
def test_an_impossible_start_is_refused_with_its_range(key: str, family: Callable, value: object):
    said = refusal(family, **{key: value})
    assert said.startswith(f"{key}={value}: ")
    assert "1e-08 .. 1e+08 of the [0, 1] range" in said


@pytest.mark.parametrize("value", [0, -0.1, math.nan, math.inf, 1e9, 1e-9, "wide", None])
def test_an_impossible_fixed_sigma_is_refused_with_its_range(value: object):
    said = refusal(Gaussian, sigma=value)
    assert said.startswith(f"sigma={value}: ")
    assert "1e-08 .. 1e+08 of the [0, 1] range" in said


@each_learned
@pytest.mark.parametrize("least", [0, -1, math.nan, math.inf, 1e-9, "small", None])
def test_an_impossible_floor_is_refused_with_its_range(key: str, family: Callable, least: object):
    said = refusal(family, **{f"min_{key}": least})
    assert said.startswith(f"min_{key}={least}: ")
    assert "part of a bin, at least 1.7e-07" in said


@each_learned
def test_a_start_at_or_below_its_floor_is_refused_with_both(key: str, family: Callable):
    for start in (0.05, 0.5 / 17):
        said = refusal(family, **{key: start, f"min_{key}": start * 17})
        assert said.startswith(f"{key}={start}: ")
        assert f"above min_{key} / K = {start:.4g}" in said


@each_learned
@pytest.mark.parametrize("per_pixel", ["yes", 1, None])
def test_a_doubtful_source_is_refused_with_the_choices(key: str, family: Callable, per_pixel: object):
    said = refusal(family, per_pixel=per_pixel)
    assert said.startswith(f"per_pixel={per_pixel}: ")
    assert said.endswith("Choices: True, False.")


def test_a_mixture_has_the_same_ranges():
    assert "1e-08 .. 1e+08" in refusal(LogisticMixture, scale=0)
    assert "part of a bin" in refusal(LogisticMixture, min_scale=0)
    assert "above min_scale / K = 0.02941" in refusal(LogisticMixture, scale=0.01, min_scale=0.5)


@pytest.mark.parametrize("df", [1, 3, 0, -2, 32, 4.0, True, None])
def test_impossible_degrees_of_freedom_are_refused_with_the_choices(df: object):
    said = refusal(StudentT, df=df)
    assert said.startswith(f"df={df}: ")
    assert "Choices: 2, 4, 6," in said
    assert said.endswith("28, 30.")
