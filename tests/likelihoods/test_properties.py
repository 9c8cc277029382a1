"""What every likelihood must hold to, whoever wrote it: one set of properties over conf/likelihood/*.yaml."""

from __future__ import annotations

from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from scipy import stats
from torch import Tensor

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import DensityLikelihood, Likelihood, UnsupportedLevels
from vae_likelihoods.seeding import generator

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "likelihood").glob("*.yaml"))


def build(path: Path, levels: int, channels: int = 1, **changes) -> Likelihood:
    config = OmegaConf.merge(OmegaConf.load(path), changes)
    try:
        return hydra.utils.instantiate(config, levels=levels, channels=channels)
    except InstantiationException as error:  # Hydra wraps what the constructor raised
        raise error.__cause__ or error from None


def supported() -> list:
    cases = []
    for path in CONFIGS:
        for levels in (2, 3, 17, 256):
            try:
                build(path, levels)
            except UnsupportedLevels:
                continue
            cases.append(pytest.param(path, levels, id=f"{path.stem}-{levels}"))
    return cases


every = pytest.mark.parametrize(("path", "levels"), supported())


def outputs_of(likelihood: Likelihood, scale: float, pixels: int = 400) -> Tensor:
    """Random outputs [pixels, P*C, 1, 1], the first all zero, the second all tiny."""
    shape = (pixels, likelihood.outputs_per_channel * likelihood.channels, 1, 1)
    outputs = torch.randn(shape, generator=generator(0, "outputs")) * scale
    outputs[0], outputs[1] = 0, 1e-30
    return outputs


def pmf(likelihood: Likelihood, outputs: Tensor) -> Tensor:
    """The log-mass of each level of single-pixel images, [pixels, K]."""
    levels = torch.arange(likelihood.levels, dtype=torch.uint8)
    return torch.stack([likelihood.log_mass(outputs, k.view(1, 1, 1, 1)) for k in levels], -1)


def random_levels(levels: int, *shape: int) -> Tensor:
    return torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)


def test_there_are_likelihoods():
    assert len(CONFIGS) >= 6


@every
@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 5.0, 30.0, 1e3, 1e6])
def test_pmf_sums_to_one(path: Path, levels: int, scale: float):
    likelihood = build(path, levels)
    log_mass = pmf(likelihood, outputs_of(likelihood, scale)).detach()
    assert log_mass.dtype == torch.float32
    assert not log_mass.isnan().any()
    assert log_mass.max() < 1e-5
    torch.testing.assert_close(log_mass.double().exp().sum(-1), torch.ones(400).double(), rtol=0, atol=1e-5)


@every
def test_pmf_sums_to_one_on_a_grid_over_the_points(path: Path, levels: int):
    """Outputs near 0 .. 1, where a Gaussian's mean is, and with every pair for two outputs."""
    likelihood = build(path, levels)
    grid = torch.linspace(-0.2, 1.2, 29)
    outputs = torch.cartesian_prod(*[grid] * likelihood.outputs_per_channel).view(
        -1, likelihood.outputs_per_channel, 1, 1
    )
    total = pmf(likelihood, outputs).detach().double().exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


@every
@pytest.mark.parametrize("score", ["log_prob", "log_mass"])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 100.0, 1e4, 1e30])
def test_gradients_are_finite(path: Path, levels: int, score: str, scale: float):
    likelihood = build(path, levels)
    outputs = outputs_of(likelihood, scale).requires_grad_()
    for k in {0, 1, levels // 2, levels - 1}:
        value = getattr(likelihood, score)(outputs, torch.full((400, 1, 1, 1), k, dtype=torch.uint8))
        (gradient,) = torch.autograd.grad(value.clamp_min(-1e38).sum(), outputs)
        assert not value.isnan().any()
        assert gradient.isfinite().all()


@every
@pytest.mark.parametrize("score", ["log_prob", "log_mass"])
def test_gradient_is_that_of_the_value(path: Path, levels: int, score: str):
    """Central differences of the float32 values, whose steps are wide enough to keep three digits."""
    likelihood = build(path, levels)
    outputs = outputs_of(likelihood, 0.7, 64).requires_grad_()
    k = random_levels(levels, 64, 1, 1, 1)
    (gradient,) = torch.autograd.grad(getattr(likelihood, score)(outputs, k).sum(), outputs)
    for output in range(outputs.shape[1]):
        step = torch.zeros_like(outputs)
        step[:, output] = 0.01
        up, down = (getattr(likelihood, score)(outputs.detach() + s, k).detach() for s in (step, -step))
        numeric = (up - down).double() / 0.02
        scale = gradient.detach().abs().mean().double() + 0.05
        torch.testing.assert_close(
            gradient[:, output, 0, 0].double() / scale, numeric / scale, rtol=5e-3, atol=2e-2
        )


@every
def test_image_is_the_sum_of_its_pixels_and_channels(path: Path, levels: int):
    likelihood, single = build(path, levels, channels=3), build(path, levels)
    outputs = torch.randn(5, likelihood.outputs_per_channel, 3, 4, 2, generator=generator(0))
    k = random_levels(levels, 5, 3, 4, 2)
    together = likelihood.log_mass(outputs.flatten(1, 2), k)
    apart = sum(single.log_mass(outputs[:, :, c], k[:, c : c + 1]) for c in range(3))
    assert together.shape == (5,)
    torch.testing.assert_close(together, apart)


@every
@pytest.mark.parametrize("score", ["log_prob", "log_mass"])
def test_importance_samples_are_broadcast(path: Path, levels: int, score: str):
    likelihood = build(path, levels, channels=2)
    shape = (7, 5, 2 * likelihood.outputs_per_channel, 3, 3)
    outputs, k = torch.randn(shape, generator=generator(0)), random_levels(levels, 5, 2, 3, 3)
    function = getattr(likelihood, score)
    torch.testing.assert_close(function(outputs, k), torch.stack([function(o, k) for o in outputs]))
    assert likelihood.mean(outputs).shape == (7, 5, 2, 3, 3)
    assert likelihood.sample(outputs, generator(0)).shape == (7, 5, 2, 3, 3)


@every
def test_levels_may_be_any_integer_type_and_outputs_bfloat16(path: Path, levels: int):
    likelihood = build(path, levels)
    outputs, k = outputs_of(likelihood, 1.0).bfloat16(), random_levels(levels, 400, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        low = likelihood.log_mass(outputs, k.long())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, likelihood.log_mass(outputs.float(), k), rtol=0, atol=0)


@every
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_mean_is_that_of_the_pmf(path: Path, levels: int, scale: float):
    likelihood = build(path, levels)
    outputs = outputs_of(likelihood, scale)
    points = torch.arange(levels).double() / (levels - 1)
    expected = (pmf(likelihood, outputs).detach().double().exp() * points).sum(-1)
    mean = likelihood.mean(outputs).detach()
    assert mean.shape == (400, 1, 1, 1)
    assert ((mean >= 0) & (mean <= 1)).all()
    torch.testing.assert_close(mean.flatten().double(), expected, rtol=0, atol=5e-6)


@every
def test_samples_follow_the_pmf(path: Path, levels: int):
    likelihood = build(path, levels)
    draws = 4000
    for pixel, outputs in enumerate(outputs_of(likelihood, 0.6, 6)):
        sample = likelihood.sample(outputs.expand(draws, -1, 1, 1), generator(3, pixel)).flatten()
        observed = np.bincount(sample.numpy(), minlength=levels)
        expected = pmf(likelihood, outputs[None]).detach().double().exp()[0].numpy() * draws
        assert chi_square_p_value(observed, expected) > 1e-4


def chi_square_p_value(observed: np.ndarray, expected: np.ndarray) -> float:
    """Pool levels until at least 10 draws are expected in each group."""
    group = np.minimum((np.cumsum(expected) / 10).astype(int), int(expected.sum() / 10) - 1)
    pooled = [np.bincount(group, weights=counts)[np.unique(group)] for counts in (observed, expected)]
    if len(pooled[0]) == 1:
        return 1.0
    return stats.chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue


@every
def test_samples_are_levels_and_depend_on_the_generator_alone(path: Path, levels: int):
    likelihood = build(path, levels, channels=3)
    outputs = torch.randn(4, 3 * likelihood.outputs_per_channel, 5, 5, generator=generator(0))
    torch.manual_seed(1)
    first = likelihood.sample(outputs, generator(2))
    torch.manual_seed(3)
    assert first.equal(likelihood.sample(outputs, generator(2)))
    assert not first.equal(likelihood.sample(outputs, generator(4)))
    assert first.dtype == torch.uint8
    assert first.shape == (4, 3, 5, 5)
    assert first.max().item() < levels
    assert not first.requires_grad


@every
def test_own_mean_and_sample_agree_with_the_generic_ones(path: Path, levels: int):
    likelihood = build(path, levels)
    outputs = outputs_of(likelihood, 0.6, 20)
    generic = Likelihood.mean(likelihood, outputs).detach()
    torch.testing.assert_close(likelihood.mean(outputs).detach(), generic, rtol=0, atol=1e-5)
    many = outputs.expand(500, 20, -1, 1, 1).flatten(0, 1)
    drawn = Likelihood._sample(likelihood, likelihood._parameters_of(many), generator(5)).detach()
    average = drawn.view(500, 20).mean(0) / (levels - 1)
    torch.testing.assert_close(average, generic.flatten(), rtol=0, atol=0.5 * 5 / 500**0.5)


@every
def test_training_score_is_the_mass_or_says_density(path: Path, levels: int):
    likelihood = build(path, levels)
    outputs, k = outputs_of(likelihood, 0.5), random_levels(levels, 400, 1, 1, 1)
    same = torch.equal(likelihood.log_prob(outputs, k), likelihood.log_mass(outputs, k))
    assert same == (likelihood.trained_on == "mass")


@every
def test_density_approaches_mass_over_width_and_can_be_switched_off(path: Path, levels: int):
    likelihood = build(path, levels)
    if not isinstance(likelihood, DensityLikelihood):
        assert likelihood.trained_on == "mass"
        return
    on_density, on_mass = (build(path, levels, trained_on=score) for score in ("density", "mass"))
    outputs, k = outputs_of(likelihood, 0.3), random_levels(levels, 400, 1, 1, 1)
    torch.testing.assert_close(on_mass.log_prob(outputs, k), likelihood.log_mass(outputs, k))
    inner = (k > 0) & (k < levels - 1)
    if levels == 256:
        density = on_density.log_prob(outputs, k)[inner.flatten()]
        mass = likelihood.log_mass(outputs, k)[inner.flatten()]
        torch.testing.assert_close(density, mass + np.log(256), rtol=0, atol=0.05)
    with pytest.raises(SettingError, match=r"likelihood\.trained_on=both.*Choices: density, mass"):
        build(path, levels, trained_on="both")


@every
def test_state_is_only_what_is_learned(path: Path, levels: int):
    likelihood = build(path, levels)
    assert set(likelihood.state_dict()) == {name for name, _ in likelihood.named_parameters()}
    assert all(isinstance(value, float) for value in likelihood.summary().values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize(("levels", "channels"), [(1, 1), (257, 1), (2, 0)])
def test_impossible_sizes_are_refused(path: Path, levels: int, channels: int):
    target = hydra.utils.get_class(OmegaConf.load(path)._target_)
    with pytest.raises(SettingError, match=r"^(levels|channels)="):
        target(levels=levels, channels=channels)


class Geometric(Likelihood):
    """The least that a new family says: P(k) proportional to exp(eta k)."""

    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        levels = torch.arange(self.levels).view(-1, *[1] * eta.ndim)
        return eta * k - torch.logsumexp(eta * levels, 0)


def test_a_new_family_has_mean_and_sample_from_its_pmf_alone():
    likelihood = Geometric(levels=5, channels=1)
    outputs = torch.tensor([-0.5, 0.0, 0.8]).view(3, 1, 1, 1)
    weights = torch.exp(outputs.flatten()[:, None] * torch.arange(5))
    probabilities = weights / weights.sum(-1, keepdim=True)
    expected = (probabilities * torch.arange(5)).sum(-1) / 4
    torch.testing.assert_close(likelihood.mean(outputs).flatten(), expected)
    for i in range(3):
        drawn = likelihood.sample(outputs[i].expand(4000, 1, 1, 1), generator(i)).flatten()
        observed = np.bincount(drawn.numpy(), minlength=5)
        assert chi_square_p_value(observed, probabilities[i].double().numpy() * 4000) > 1e-4
