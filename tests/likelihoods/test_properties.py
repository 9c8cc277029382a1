"""Properties that every likelihood must have: those of conf/likelihood, and compositions with other laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from compositions import CONFIGS, NODES, SLOW, build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import DensityLikelihood, Likelihood, UnsupportedLevels
from vae_likelihoods.seeding import generator


def supported() -> list:
    cases = []
    for name in NODES:
        for levels in (2, 3, 17, 256):
            try:
                build(name, levels)
            except UnsupportedLevels:
                continue
            marks = [pytest.mark.slow] if name in SLOW else []
            cases.append(pytest.param(name, levels, marks=marks, id=f"{name}-{levels}"))
    return cases


every = pytest.mark.parametrize(("name", "levels"), supported())


def outputs_of(likelihood: Likelihood, scale: float, pixels: int = 400) -> Tensor:
    """Random outputs [pixels, P*C, 1, 1], the first all zero, the second all tiny."""
    outputs = (
        torch.randn((pixels, likelihood.output_channels, 1, 1), generator=generator(0, "outputs")) * scale
    )
    outputs[0], outputs[1] = 0, 1e-30
    return outputs


def pmf(likelihood: Likelihood, outputs: Tensor) -> Tensor:
    """The log-mass of each level of single-pixel images, [pixels, K]."""
    levels = torch.arange(likelihood.levels, dtype=torch.uint8)
    return torch.stack([likelihood.log_mass(outputs, k.view(1, 1, 1, 1)) for k in levels], -1)


def random_levels(levels: int, *shape: int) -> Tensor:
    return torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)


def assert_proper(likelihood: Likelihood, outputs: Tensor) -> None:
    """The contract of a pmf, in float32."""
    log_mass = pmf(likelihood, outputs).detach()
    assert log_mass.dtype == torch.float32
    assert log_mass.isfinite().all()
    assert (log_mass <= 0).all()
    total = log_mass.double().exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


def assert_finite_gradients(likelihood: Likelihood, outputs: Tensor) -> None:
    """At the first, second, middle and last level, of both scores."""
    for k in {0, 1, likelihood.levels // 2, likelihood.levels - 1}:
        level = torch.full((len(outputs), 1, 1, 1), k, dtype=torch.uint8)
        for score in (likelihood.log_prob, likelihood.log_mass):
            leaf = outputs.clone().requires_grad_()
            value = score(leaf, level)
            parameters = [leaf, *likelihood.parameters()]
            gradients = torch.autograd.grad(value.clamp_min(-1e38).sum(), parameters, allow_unused=True)
            assert not value.isnan().any()
            assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_there_are_likelihoods():
    assert len(CONFIGS) >= 6


@every
def test_pixels_that_are_no_levels_are_refused(name: str, levels: int):
    """Pixels in [0, 1] would be scored as the lowest levels, and look better than they are."""
    likelihood = build(name, levels)
    outputs, k = outputs_of(likelihood, 1.0), random_levels(levels, 400, 1, 1, 1)
    for images in (k / (levels - 1), k.double(), k.bool()):
        for score in (likelihood.log_prob, likelihood.log_mass, likelihood.pixel_log_mass):
            with pytest.raises(SettingError, match=r"^images=torch.\w+: integer levels 0 .. \d+ are needed"):
                score(outputs, images)


@every
@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 5.0, 30.0, 1e3, 1e6])
def test_pmf_sums_to_one(name: str, levels: int, scale: float):
    likelihood = build(name, levels)
    assert_proper(likelihood, outputs_of(likelihood, scale))


@every
def test_pmf_sums_to_one_on_a_grid_over_the_points(name: str, levels: int):
    """Outputs near 0 .. 1, where a Gaussian's mean is, with every pair for two outputs; then all the same."""
    likelihood = build(name, levels)
    grid = torch.linspace(-0.2, 1.2, 29)
    if likelihood.output_channels <= 2:
        outputs = torch.cartesian_prod(*[grid] * likelihood.output_channels).view(
            -1, likelihood.output_channels
        )
    else:
        outputs = grid.unsqueeze(1).repeat(1, likelihood.output_channels)
    assert_proper(likelihood, outputs.view(*outputs.shape, 1, 1))


MEANS = (-1e6, -30.0, -1.0, -0.02, 0.0, 1e-9, 1 / 3, 0.5, 0.501, 1.0, 1.03, 4.0, 1e4)


def with_scale(name: str, levels: int, bins: float, score: str = "mass") -> Likelihood | None:
    """The family with a scale of so many bins where outputs are 0; None if it has no scale to set."""
    if "scale" not in NODES[name]:
        return None
    floor = {"min_scale": bins / 2} if "min_scale" in NODES[name] else {}
    return build(name, levels, scale=bins / levels, trained_on=score, **floor)


def at_means(likelihood: Likelihood, levels: int) -> Tensor:
    """Outputs whose numbers are all at one mean, the last ones at edges of bins and beside them."""
    edges = [j / levels + shift for j in (1, levels // 2, levels - 1) for shift in (-1e-5, 0.0, 1e-5)]
    means = torch.tensor([*MEANS, *edges])
    outputs = torch.zeros(len(means), likelihood.output_channels, 1, 1)
    outputs[:, 0, 0, 0] = means
    if likelihood.output_channels > 2:  # components: all means in the middle third
        third = likelihood.output_channels // 3
        outputs[:, 0] = 0
        outputs[:, third : 2 * third, 0, 0] = means.unsqueeze(1)
    return outputs


@every
@pytest.mark.parametrize("bins", [1e-4, 1e-2, 0.3, 1.0, 10.0, 1e3, 1e4])
def test_pmf_is_proper_for_sharp_and_wide_scales_wherever_the_mean_is(name: str, levels: int, bins: float):
    """From 1e-4 of a bin to 1e4 bins, with means inside, at the ends, on edges and far outside [0, 1]."""
    likelihood = with_scale(name, levels, bins)
    if likelihood is None:  # it has no scale but its outputs, and other tests give these all sizes
        assert "scale" not in NODES[name]
        return
    outputs = at_means(likelihood, levels)
    assert_proper(likelihood, outputs)
    assert_finite_gradients(likelihood, outputs)
    on_density = with_scale(name, levels, bins, "density")
    assert on_density is not None
    assert_finite_gradients(on_density, outputs)


@every
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 100.0, 1e4, 1e30])
def test_gradients_are_finite(name: str, levels: int, scale: float):
    likelihood = build(name, levels)
    assert_finite_gradients(likelihood, outputs_of(likelihood, scale))


@every
@pytest.mark.parametrize("score", ["mass", "density"])
@pytest.mark.parametrize("scale", [0.1, 0.7, 3.0])
def test_gradient_is_that_of_the_value(name: str, levels: int, score: str, scale: float):
    """Central differences in float64, of every output and of what all pixels share."""
    scored = {"trained_on": score} if "trained_on" in NODES[name] else {}
    likelihood = build(name, levels, **scored).double()
    # Not at 0 itself: there two forms of a formula may meet whose tables are rounded to float32.
    outputs, k = outputs_of(likelihood, scale, 200).double() + 1e-3, random_levels(levels, 200, 1, 1, 1)
    inputs = [outputs.requires_grad_(), *likelihood.parameters()]
    gradients = torch.autograd.grad(likelihood.log_prob(outputs, k).sum(), inputs, allow_unused=True)
    for leaf, gradient in zip(inputs, gradients, strict=True):
        direction = torch.randn(leaf.shape, generator=generator(2), dtype=torch.float64)
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                leaf += step * direction
                ends.append(likelihood.log_prob(outputs, k))
                leaf -= step * direction
        slope = 0 if gradient is None else gradient * direction
        # Outputs belong to one pixel each; a shared parameter belongs to all of them.
        claimed = slope.flatten(1).sum(1) if leaf is outputs else torch.as_tensor(slope).sum()
        measured = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close(
            claimed,
            measured if leaf is outputs else measured.sum(),
            rtol=2e-4,
            atol=2e-4 * measured.abs().mean().item(),
        )


@every
def test_mass_in_float32_is_that_in_float64(name: str, levels: int):
    likelihood = build(name, levels)
    outputs = outputs_of(likelihood, 1.5)
    single = pmf(likelihood, outputs).detach()
    double = pmf(likelihood.double(), outputs.double()).detach()
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=5e-6, atol=1e-5)


@every
def test_coarser_levels_have_the_mass_of_the_finer_ones_within(name: str, levels: int):
    """Where the cdf does not depend on K: bins at 128, 16 and 2 levels hold those at 256."""
    fine = build(name, levels)
    if levels != 256 or not isinstance(fine, DensityLikelihood):
        return
    node, outputs = NODES[name], outputs_of(fine, 0.8)
    masses = pmf(fine, outputs).detach().double()
    for coarse in (128, 16, 2):
        floor = {"min_scale": node["min_scale"] * coarse / 256} if "min_scale" in node else {}
        expected = masses.unflatten(-1, (coarse, 256 // coarse)).logsumexp(-1)
        log_mass = pmf(build(name, coarse, **floor), outputs).detach().double()
        torch.testing.assert_close(log_mass, expected, rtol=5e-6, atol=1e-5)


@every
def test_density_integrates_to_one(name: str, levels: int):
    """By the trapezoidal rule on a grid that is dense at 0, at 1 and between, and reaches far outside."""
    likelihood = build(name, levels)
    if levels != 256 or not isinstance(likelihood, DensityLikelihood):
        return
    outputs = likelihood.double()._parameters_of(outputs_of(likelihood, 0.3, 20).double())
    half = torch.cat([torch.logspace(-12, -3, 5000), torch.linspace(0.001, 0.5, 5000)[1:]]).double()
    grid = torch.cat([half, 1 - half.flip(0)[1:]])
    if not likelihood.on_unit_interval:
        out = torch.logspace(-3, 5, 20000, dtype=torch.float64)
        grid = torch.cat([-out.flip(0), torch.zeros(1), grid, torch.ones(1), 1 + out])
    everywhere = outputs.expand(len(grid), *outputs.shape)
    density = likelihood._log_density(everywhere, grid.view(-1, 1, 1, 1, 1)).exp().flatten(1)
    total = torch.trapezoid(density.detach(), grid, dim=0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-4)


@every
def test_image_is_the_sum_of_its_pixels_and_channels(name: str, levels: int):
    likelihood, single = build(name, levels, channels=3), build(name, levels)
    outputs = torch.randn(5, likelihood.output_channels, 4, 2, generator=generator(0))
    k = random_levels(levels, 5, 3, 4, 2)
    together = likelihood.log_mass(outputs, k)
    assert together.shape == (5,)
    rows = sum(likelihood.log_mass(outputs[:, :, r : r + 1], k[:, :, r : r + 1]) for r in range(4))
    torch.testing.assert_close(together, rows)
    if likelihood.channels_factorise:
        of_channels = outputs.unflatten(1, (-1, 3))
        apart = sum(single.log_mass(of_channels[:, :, c], k[:, c : c + 1]) for c in range(3))
        torch.testing.assert_close(together, apart)


@every
@pytest.mark.parametrize("score", ["log_prob", "log_mass"])
def test_importance_samples_are_broadcast(name: str, levels: int, score: str):
    likelihood = build(name, levels, channels=2)
    shape = (7, 5, likelihood.output_channels, 3, 3)
    outputs, k = torch.randn(shape, generator=generator(0)), random_levels(levels, 5, 2, 3, 3)
    function = getattr(likelihood, score)
    torch.testing.assert_close(function(outputs, k), torch.stack([function(o, k) for o in outputs]))
    assert likelihood.mean(outputs).shape == (7, 5, 2, 3, 3)
    assert likelihood.sample(outputs, generator(0)).shape == (7, 5, 2, 3, 3)


@every
def test_levels_may_be_any_integer_type_and_outputs_bfloat16(name: str, levels: int):
    likelihood = build(name, levels)
    outputs, k = outputs_of(likelihood, 1.0).bfloat16(), random_levels(levels, 400, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        low = likelihood.log_mass(outputs, k.long())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, likelihood.log_mass(outputs.float(), k), rtol=0, atol=0)


@every
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_mean_is_that_of_the_pmf(name: str, levels: int, scale: float):
    likelihood = build(name, levels)
    outputs = outputs_of(likelihood, scale)
    points = torch.arange(levels).double() / (levels - 1)
    probabilities = pmf(likelihood, outputs).detach().double().softmax(-1)
    expected = (probabilities * points).sum(-1)
    mean = likelihood.mean(outputs).detach()
    assert mean.shape == (400, 1, 1, 1)
    assert ((mean >= 0) & (mean <= 1)).all()
    torch.testing.assert_close(mean.flatten().double(), expected, rtol=0, atol=5e-6)


@every
def test_samples_follow_the_pmf(name: str, levels: int):
    likelihood = build(name, levels)
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
def test_samples_are_levels_and_depend_on_the_generator_alone(name: str, levels: int):
    likelihood = build(name, levels, channels=3)
    outputs = torch.randn(4, likelihood.output_channels, 5, 5, generator=generator(0))
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
def test_own_mean_and_sample_agree_with_the_generic_ones(name: str, levels: int):
    likelihood = build(name, levels)
    outputs = outputs_of(likelihood, 0.6, 20)
    generic = Likelihood.mean(likelihood, outputs).detach()
    torch.testing.assert_close(likelihood.mean(outputs).detach(), generic, rtol=0, atol=1e-5)
    many = outputs.expand(500, 20, -1, 1, 1).flatten(0, 1)
    drawn = Likelihood._sample(likelihood, likelihood._parameters_of(many), generator(5)).detach()
    average = drawn.view(500, 20).mean(0) / (levels - 1)
    torch.testing.assert_close(average, generic.flatten(), rtol=0, atol=0.5 * 5 / 500**0.5)


@every
def test_training_score_is_the_mass_or_says_density(name: str, levels: int):
    likelihood = build(name, levels)
    outputs, k = outputs_of(likelihood, 0.5), random_levels(levels, 400, 1, 1, 1)
    same = torch.equal(likelihood.log_prob(outputs, k), likelihood.log_mass(outputs, k))
    assert same == (likelihood.trained_on == "mass")


@every
def test_density_approaches_mass_over_width_and_can_be_switched_off(name: str, levels: int):
    likelihood = build(name, levels)
    if not isinstance(likelihood, DensityLikelihood):
        assert likelihood.trained_on == "mass"
        assert "trained_on" not in NODES[name]
        return
    on_density, on_mass = (build(name, levels, trained_on=score) for score in ("density", "mass"))
    outputs, k = outputs_of(likelihood, 0.3), random_levels(levels, 400, 1, 1, 1)
    torch.testing.assert_close(on_mass.log_prob(outputs, k), likelihood.log_mass(outputs, k))
    assert not torch.allclose(on_density.log_prob(outputs, k), likelihood.log_mass(outputs, k))
    inner = ((k >= 32) & (k < 224)).flatten()
    if levels == 256:
        parameters = likelihood._parameters_of(outputs)
        density = likelihood._log_density(parameters, (k.float() + 0.5) / levels).flatten()[inner]
        mass = likelihood.log_mass(outputs, k)[inner]
        # Here bins are narrow against the scale of every family, and the log-density bends little within one.
        near = density > -10
        torch.testing.assert_close(density[near], (mass + np.log(256))[near], rtol=0, atol=0.02)
        assert near.float().mean() > 0.5
    with pytest.raises(SettingError, match=r"trained_on=both.*Choices: density, mass"):
        build(name, levels, trained_on="both")


@every
def test_state_is_only_what_is_learned(name: str, levels: int):
    likelihood = build(name, levels)
    assert set(likelihood.state_dict()) == {name for name, _ in likelihood.named_parameters()}
    assert all(isinstance(value, float) for value in likelihood.summary().values())


@every
def test_the_mass_of_an_image_is_that_of_its_pixels(name: str, levels: int):
    likelihood = build(name, levels, channels=3)
    outputs = torch.randn(2, 5, likelihood.output_channels, 4, 2, generator=generator(0))
    k = random_levels(levels, 5, 3, 4, 2)
    of_pixels = likelihood.pixel_log_mass(outputs, k)
    assert of_pixels.shape == (2, 5, 3 if likelihood.channels_factorise else 1, 4, 2)
    torch.testing.assert_close(of_pixels.flatten(2).sum(-1), likelihood.log_mass(outputs, k))
    corner = likelihood.log_mass(outputs[..., :1, :1], k[..., :1, :1])
    torch.testing.assert_close(of_pixels[..., 0, 0].sum(-1), corner)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("levels", "channels"), [(1, 1), (257, 1), (2, 0)])
def test_impossible_sizes_are_refused(name: str, levels: int, channels: int):
    with pytest.raises(SettingError, match=r"^(levels|channels)="):
        build(name, levels, channels)


class Geometric(Likelihood):
    """The smallest family: P(k) proportional to exp(eta k)."""

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
