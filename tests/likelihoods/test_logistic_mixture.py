"""One component is a logistic; coupled channels are PixelCNN++'s, whose formulas stand here a second time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.logistic import Logistic
from vae_likelihoods.likelihoods.logistic_mixture import LogisticMixture
from vae_likelihoods.seeding import generator

M = 4


def outputs_of(likelihood: LogisticMixture, *shape: int, scale: float = 0.7) -> Tensor:
    """Random outputs [..., output_channels, H, W]."""
    *batch, height, width = shape
    sizes = (*batch, likelihood.output_channels, height, width)
    return torch.randn(sizes, generator=generator(0, "mixture")) * scale


def images(levels: int, *shape: int) -> Tensor:
    return torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)


def colours(levels: int) -> Tensor:
    """Every image of one pixel and three channels, [K^3, 3, 1, 1]."""
    return torch.tensor(list(itertools.product(range(levels), repeat=3)), dtype=torch.uint8).view(-1, 3, 1, 1)


def plain(outputs: Tensor, x: Tensor, levels: int | None) -> Tensor:
    """log p of pixels [N, 3], by the paper's equations 1 to 3, for outputs [N, 10 M] in the documented order.

    With `levels` the mass of the bins of the points x, without it their density.
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


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("score", ["mass", "density"])
def test_one_component_is_a_logistic(levels: int, score: str):
    mixture = LogisticMixture(levels=levels, channels=1, components=1, trained_on=score)
    single = Logistic(levels=levels, channels=1, per_pixel=True, trained_on=score)
    outputs, k = outputs_of(mixture, 6, 5, 4).requires_grad_(), images(levels, 6, 1, 5, 4)
    own = outputs[:, 1:] + torch.tensor([0.5, 0.0]).view(2, 1, 1)  # the only component stands in the middle
    torch.testing.assert_close(mixture.log_prob(outputs, k), single.log_prob(own, k), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(mixture.mean(outputs), single.mean(own), rtol=0, atol=1e-6)
    gradients = [
        torch.autograd.grad(likelihood.log_prob(given, k).sum(), outputs, retain_graph=True)[0]
        for likelihood, given in ((mixture, outputs), (single, own))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
    assert not gradients[0][:, 0].any()


@pytest.mark.parametrize(
    ("channels", "coupled", "each"), [(1, True, 3), (1, False, 3), (2, True, 6), (3, True, 10), (3, False, 9)]
)
def test_number_of_outputs(channels: int, coupled: bool, each: int):
    likelihood = LogisticMixture(levels=256, channels=channels, components=M, coupled=coupled)
    assert likelihood.output_channels == each * M
    assert likelihood.channels_factorise == (channels == 1 or not coupled)


@pytest.mark.parametrize("score", ["mass", "density"])
def test_uncoupled_channels_are_independent(score: str):
    together = LogisticMixture(levels=17, channels=3, components=M, coupled=False, trained_on=score)
    alone = LogisticMixture(levels=17, channels=1, components=M, trained_on=score)
    outputs, k = outputs_of(together, 5, 2, 3), images(17, 5, 3, 2, 3)
    own = outputs.unflatten(1, (3 * M, 3))
    apart = sum(alone.log_prob(own[:, :, channel], k[:, channel : channel + 1]) for channel in range(3))
    torch.testing.assert_close(together.log_prob(outputs, k), apart)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_coupled_pmf_over_all_colours_sums_to_one(scale: float):
    likelihood = LogisticMixture(levels=3, channels=3, components=M)
    outputs = outputs_of(likelihood, 40, 1, 1, scale=scale)
    log_mass = torch.stack([likelihood.log_mass(outputs, k) for k in colours(3).unsqueeze(1)], -1)
    total = log_mass.double().exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_coupled_mass_is_that_of_the_paper(levels: int):
    likelihood = LogisticMixture(levels=levels, channels=3, components=M)
    outputs, k = outputs_of(likelihood, 300, 1, 1), images(levels, 300, 3, 1, 1)
    ours, theirs = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    found = likelihood.log_mass(ours, k)
    expected = plain(theirs.flatten(1), k.flatten(1).double() / (levels - 1), levels)
    torch.testing.assert_close(found.double(), expected, rtol=3e-6, atol=1e-5)
    gradients = [torch.autograd.grad(v.sum(), leaf)[0] for v, leaf in ((found, ours), (expected, theirs))]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_coupled_density_is_that_of_the_paper():
    likelihood = LogisticMixture(levels=256, channels=3, components=M, trained_on="density")
    outputs, k = outputs_of(likelihood, 300, 1, 1), images(256, 300, 3, 1, 1)
    ours, theirs = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    found = likelihood.log_prob(ours, k)
    expected = plain(theirs.flatten(1), k.flatten(1).double() / 255, None)
    torch.testing.assert_close(found.double(), expected, rtol=3e-6, atol=1e-5)
    gradients = [torch.autograd.grad(v.sum(), leaf)[0] for v, leaf in ((found, ours), (expected, theirs))]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def joint(likelihood: LogisticMixture, outputs: Tensor) -> np.ndarray:
    """P of every colour under the outputs of one pixel, [K^3]."""
    k = colours(likelihood.levels)
    found = likelihood.log_mass(outputs.expand(len(k), -1, 1, 1), k).detach().double().exp()
    return (found / found.sum()).numpy()


@pytest.mark.parametrize("levels", [2, 3])
def test_samples_follow_the_joint_pmf(levels: int):
    likelihood, draws = LogisticMixture(levels=levels, channels=3, components=M), 20000
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
    likelihood = LogisticMixture(levels=2, channels=3, components=1)
    mean, scale, factors = [0.0, -0.5, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]
    outputs = torch.tensor([0.0, *mean, *scale, *factors]).view(1, 10, 1, 1)
    pmf = joint(likelihood, outputs).reshape(2, 2, 2).sum(-1)
    given_red = pmf[:, 1] / pmf.sum(1)
    # Green's mean is red's point times tanh(3), its scale 0.1: P(green = 1) = sigmoid((mean - 1/2) / scale).
    np.testing.assert_allclose(
        given_red, 1 / (1 + np.exp(-(np.array([0, np.tanh(3)]) - 0.5) / 0.1)), rtol=1e-5
    )


# A mean over 64 points in three dimensions: where few levels make the integrand jump it is off by up to 0.03.
LATTICE = 0.025


def test_mean_is_that_of_the_joint_pmf_to_the_lattice_error():
    likelihood = LogisticMixture(levels=3, channels=3, components=M)
    outputs = outputs_of(likelihood, 50, 1, 1)
    points = colours(3).flatten(1).double().numpy() / 2
    expected = np.stack([joint(likelihood, one[None]) @ points for one in outputs])
    np.testing.assert_allclose(likelihood.mean(outputs).flatten(1).numpy(), expected, rtol=0, atol=LATTICE)


def test_mean_is_the_average_of_samples_to_the_lattice_error():
    likelihood, draws = LogisticMixture(levels=256, channels=3, components=M), 10000
    outputs = outputs_of(likelihood, 10, 2, 1)
    average = likelihood.sample(outputs.expand(draws, *outputs.shape), generator(3)).float().mean(0) / 255
    noise = 4 * 0.5 / draws**0.5
    torch.testing.assert_close(likelihood.mean(outputs), average, rtol=0, atol=0.02 + noise)


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
    ],
)
def test_impossible_settings_are_refused(key: str, value: object):
    with pytest.raises(SettingError, match=rf"^{key}={value}: "):
        LogisticMixture(levels=256, channels=3, **{key: value})
