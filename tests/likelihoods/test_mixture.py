"""Mixtures of several laws; with coupled logistics they are those of PixelCNN++, written out here."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from secant import HyperbolicSecant
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.laws.base import Law
from vae_likelihoods.likelihoods.laws.laplace import Laplace
from vae_likelihoods.likelihoods.laws.logistic import Logistic
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.laws.student_t import StudentT
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.likelihoods.mixture import Mixture
from vae_likelihoods.seeding import generator

M = 4
every_law = pytest.mark.parametrize(
    "law", [Logistic(), Laplace(), Normal(), StudentT(4), HyperbolicSecant()], ids=str
)


def mixture(levels: int, channels: int, law: Law | None = None, **settings: Any) -> Mixture:
    """A mixture of logistics, or of another law, with the settings of conf/likelihood, of M components."""
    defaults = {"law": law or Logistic(), "components": M, "scale": 0.1, "min_scale": 0.1}
    return Mixture(levels, channels, **{**defaults, **settings})


def outputs_of(likelihood: Mixture, *shape: int, scale: float = 0.7) -> Tensor:
    """Random outputs [..., output_channels, H, W]."""
    *batch, height, width = shape
    sizes = (*batch, likelihood.output_channels, height, width)
    return torch.randn(sizes, generator=generator(0, "mixture")) * scale


def images(levels: int, *shape: int) -> Tensor:
    return torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)


def colours(levels: int) -> Tensor:
    """Return every image of one pixel and three channels, [K^3, 3, 1, 1]."""
    return torch.tensor(list(itertools.product(range(levels), repeat=3)), dtype=torch.uint8).view(-1, 3, 1, 1)


def plain(outputs: Tensor, x: Tensor, levels: int | None) -> Tensor:
    """Return log p of pixels [N, 3], by equations 1 to 3 of the paper, for outputs [N, 10 M] in their order.

    With `levels` it is the mass of the bins of the points x, without it their density.
    """
    logits, means, scales, factors = outputs.double().split([M, 3 * M, 3 * M, 3 * M], 1)
    floor, start, bound = 0.1 / (levels or 256), 0.1, math.log(1e4)
    total = torch.zeros(len(outputs), dtype=torch.float64)
    for m in range(M):
        green_red, blue_red, blue_green = (torch.tanh(factors[:, 3 * m + i]) for i in range(3))
        red, green, _ = x.double().unbind(1)
        shifts = [0 * red, green_red * red, blue_red * red + blue_green * green]
        share = torch.exp(logits[:, m]) / logits.exp().sum(1)
        for channel in range(3):
            mean = (m + 0.5) / M + means[:, 3 * m + channel] + shifts[channel]
            raw = scales[:, 3 * m + channel]
            scale = floor + (start - floor) * torch.exp(bound * torch.tanh(raw / bound))
            value = x[:, channel].double()
            if levels is None:
                u = torch.sigmoid((value - mean) / scale)
                share = share * u * (1 - u) / scale
                continue
            k = (value * (levels - 1)).round()
            above = torch.where(k == levels - 1, 1.0, torch.sigmoid(((k + 1) / levels - mean) / scale))
            below = torch.where(k == 0, 0.0, torch.sigmoid((k / levels - mean) / scale))
            share = share * (above - below)
        total = total + share
    return total.log()


@every_law
@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("score", ["mass", "density"])
def test_one_component_is_the_law_with_location_and_scale(law: Law, levels: int, score: str):
    one_component = mixture(levels, 1, law, components=1, trained_on=score)
    single = LocationScale(levels, 1, law, scale=0.1, min_scale=0.1, per_pixel=True, trained_on=score)
    outputs, k = outputs_of(one_component, 6, 5, 4).requires_grad_(), images(levels, 6, 1, 5, 4)
    of_single = outputs[:, 1:] + torch.tensor([0.5, 0.0]).view(2, 1, 1)  # the only component is in the middle
    torch.testing.assert_close(
        one_component.log_prob(outputs, k), single.log_prob(of_single, k), rtol=1e-6, atol=1e-5
    )
    torch.testing.assert_close(one_component.mean(outputs), single.mean(of_single), rtol=0, atol=1e-6)
    gradients = [
        torch.autograd.grad(likelihood.log_prob(numbers, k).sum(), outputs, retain_graph=True)[0]
        for likelihood, numbers in ((one_component, outputs), (single, of_single))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
    assert not gradients[0][:, 0].any()


@every_law
@pytest.mark.parametrize("score", ["mass", "density"])
def test_a_mixture_is_fitted_to_draws_of_a_planted_one(law: Law, score: str):
    """Two narrow peaks, of which one pixel in four has the lower one; Adam starts from outputs of 0."""
    planted = mixture(64, 1, law, components=2, scale=0.05, trained_on=score)
    truth = torch.tensor([-1.1, 0.0, -0.05, 0.0, -0.4, -0.4]).view(1, 6, 1, 1)
    k = planted.sample(truth.expand(4000, -1, -1, -1), generator(0, "draws"))
    outputs = torch.zeros_like(truth).requires_grad_()
    optimizer = torch.optim.Adam([outputs], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        (-planted.log_prob(outputs, k).mean()).backward()
        optimizer.step()
    start = torch.zeros_like(truth)
    at_start, fitted, true = (
        planted.log_prob(numbers, k).mean().item() for numbers in (start, outputs, truth)
    )
    assert at_start < true - 0.1
    assert fitted > true - 0.01
    low, high = (planted.places.flatten() + outputs[0, 2:4].flatten()).tolist()
    assert low == pytest.approx(0.2, abs=0.02)
    assert high == pytest.approx(0.75, abs=0.02)


@every_law
def test_a_coupled_mixture_of_any_law_is_proper(law: Law):
    """Over all colours it sums to 1, its mean is that of the joint pmf, and draws have that mean."""
    likelihood = mixture(3, 3, law)
    outputs = outputs_of(likelihood, 30, 1, 1)
    pmf = np.stack([joint(likelihood, pixel[None], normalised=False) for pixel in outputs])
    np.testing.assert_allclose(pmf.sum(1), 1, rtol=0, atol=1e-5)
    expected = pmf @ (colours(3).flatten(1).double().numpy() / 2)
    np.testing.assert_allclose(likelihood.mean(outputs).flatten(1).numpy(), expected, rtol=0, atol=0.004)
    draws = likelihood.sample(outputs.expand(4000, *outputs.shape), generator(0, "draws"))
    average = draws.double().mean(0).flatten(1).numpy() / 2
    np.testing.assert_allclose(average, expected, rtol=0, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(
    ("channels", "coupled", "each"), [(1, True, 3), (1, False, 3), (2, True, 6), (3, True, 10), (3, False, 9)]
)
def test_number_of_outputs(channels: int, coupled: bool, each: int):
    likelihood = mixture(256, channels, coupled=coupled)
    assert likelihood.output_channels == each * M
    assert likelihood.channels_factorise == (channels == 1 or not coupled)


@pytest.mark.parametrize("score", ["mass", "density"])
def test_uncoupled_channels_are_independent(score: str):
    together = mixture(17, 3, coupled=False, trained_on=score)
    alone = mixture(17, 1, trained_on=score)
    outputs, k = outputs_of(together, 5, 2, 3), images(17, 5, 3, 2, 3)
    of_channels = outputs.unflatten(1, (3 * M, 3))
    apart = sum(
        alone.log_prob(of_channels[:, :, channel], k[:, channel : channel + 1]) for channel in range(3)
    )
    torch.testing.assert_close(together.log_prob(outputs, k), apart)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_coupled_pmf_over_all_colours_sums_to_one(scale: float):
    likelihood = mixture(3, 3)
    outputs = outputs_of(likelihood, 40, 1, 1, scale=scale)
    log_mass = torch.stack([likelihood.log_mass(outputs, k) for k in colours(3).unsqueeze(1)], -1)
    total = log_mass.double().exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_coupled_mass_is_that_of_the_paper(levels: int):
    likelihood = mixture(levels, 3)
    outputs, k = outputs_of(likelihood, 300, 1, 1).requires_grad_(), images(levels, 300, 3, 1, 1)
    log_mass = likelihood.log_mass(outputs, k)
    expected = plain(outputs.flatten(1), k.flatten(1).double() / (levels - 1), levels)
    torch.testing.assert_close(log_mass.double(), expected, rtol=3e-6, atol=1e-5)
    gradients = [torch.autograd.grad(value.sum(), outputs)[0] for value in (log_mass, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_coupled_density_is_that_of_the_paper():
    likelihood = mixture(256, 3, trained_on="density")
    outputs, k = outputs_of(likelihood, 300, 1, 1).requires_grad_(), images(256, 300, 3, 1, 1)
    log_density = likelihood.log_prob(outputs, k)
    expected = plain(outputs.flatten(1), k.flatten(1).double() / 255, None)
    torch.testing.assert_close(log_density.double(), expected, rtol=3e-6, atol=1e-5)
    gradients = [torch.autograd.grad(value.sum(), outputs)[0] for value in (log_density, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def joint(likelihood: Mixture, outputs: Tensor, normalised: bool = True) -> np.ndarray:
    """Return P of every colour under the outputs of one pixel, [K^3]."""
    k = colours(likelihood.levels)
    pmf = likelihood.log_mass(outputs.expand(len(k), -1, 1, 1), k).detach().double().exp()
    return (pmf / (pmf.sum() if normalised else 1)).numpy()


@pytest.mark.parametrize("levels", [2, 3])
def test_samples_follow_the_joint_pmf(levels: int):
    likelihood, draws = mixture(levels, 3), 20000
    for pixel, outputs in enumerate(outputs_of(likelihood, 4, 1, 1)):
        sample = likelihood.sample(outputs.expand(draws, -1, 1, 1), generator(2, pixel)).flatten(1).long()
        place = (sample * levels ** torch.tensor([2, 1, 0])).sum(1)
        observed = np.bincount(place.numpy(), minlength=levels**3)
        expected = joint(likelihood, outputs[None]) * draws
        often = expected >= 5
        pooled = [np.append(counts[often], counts[~often].sum()) for counts in (observed, expected)]
        if pooled[1][-1] < 5:
            pooled = [np.append(counts[:-2], counts[-2:].sum()) for counts in pooled]
        assert stats.chisquare(*pooled).pvalue > 1e-4


def test_channels_depend_on_each_other():
    """With one component and a strong factor, green follows red: no product of marginals has this pmf."""
    likelihood = mixture(2, 3, components=1)
    mean, scale, factors = [0.0, -0.5, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]
    outputs = torch.tensor([0.0, *mean, *scale, *factors]).view(1, 10, 1, 1)
    pmf = joint(likelihood, outputs).reshape(2, 2, 2).sum(-1)
    given_red = pmf[:, 1] / pmf.sum(1)
    # Green's mean is red's point times tanh(3), its scale 0.1: P(green = 1) = sigmoid((mean - 1/2) / scale).
    np.testing.assert_allclose(
        given_red, 1 / (1 + np.exp(-(np.array([0, np.tanh(3)]) - 0.5) / 0.1)), rtol=1e-5
    )


@pytest.mark.parametrize(("levels", "channels"), [(2, 3), (3, 3), (4, 3), (8, 3), (2, 4), (64, 2)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_mean_of_coupled_channels_is_that_of_the_joint_pmf(levels: int, channels: int, scale: float):
    """Of every colour that there is: to what is promised, wherever the integrand jumps."""
    likelihood = mixture(levels, channels)
    outputs = scale * torch.randn(20, likelihood.output_channels, 1, 1, generator=generator(1))
    every = torch.tensor(list(itertools.product(range(levels), repeat=channels))).view(-1, 1, channels, 1, 1)
    with torch.no_grad():
        pmf = likelihood.log_mass(outputs.double(), every).exp()  # [colours, pixels]
    expected = torch.einsum("kn,kc->nc", pmf, every.view(-1, channels).double()) / (levels - 1)
    found = likelihood.mean(outputs).flatten(1).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=0.008 if channels == 4 else 0.004)


def test_mean_is_the_average_of_samples_where_there_are_too_many_colours():
    likelihood, draws = mixture(256, 3), 10000
    outputs = outputs_of(likelihood, 10, 2, 1)
    average = likelihood.sample(outputs.expand(draws, *outputs.shape), generator(3)).float().mean(0) / 255
    noise = 4 * 0.5 / draws**0.5
    torch.testing.assert_close(likelihood.mean(outputs), average, rtol=0, atol=0.004 + noise)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("components", 0),
        ("components", 2.0),
        ("components", True),
        ("coupled", "yes"),
        ("coupled", 1),
        ("min_scale", 0),
        ("scale", 0.0001),
        ("trained_on", "both"),
        ("law", "logistic"),
    ],
)
def test_impossible_settings_are_refused(key: str, value: object):
    with pytest.raises(SettingError, match=rf"^{key}={value}: "):
        mixture(256, 3, **{key: value})
