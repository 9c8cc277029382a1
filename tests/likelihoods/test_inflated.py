"""Spikes at both ends of another likelihood: against sums by hand, closed forms and scipy's optimiser."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from scipy import optimize, special, stats
from torch import Tensor

from compositions import CONFIGS
from vae_likelihoods.cells.build import build, build_likelihood
from vae_likelihoods.cells.settings import read
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import Likelihood, UnsupportedLevels
from vae_likelihoods.likelihoods.binomial import Binomial
from vae_likelihoods.likelihoods.inflated import Inflated
from vae_likelihoods.likelihoods.laws.logistic import Logistic
from vae_likelihoods.likelihoods.mixture import Mixture
from vae_likelihoods.seeding import generator

BASES = sorted(CONFIGS.keys() - {"inflated", "bernoulli"})
COUPLED = partial(Mixture, law=Logistic(), components=2, scale=0.2, min_scale=0.3)
SIZES = [("binomial", 2), ("binomial", 17), ("beta_binomial", 17), ("logistic_mixture", 256)]


def inflated(base: str, levels: int, channels: int = 1, weight: float = 0.01, **changes: Any) -> Inflated:
    """The likelihood of that name with spikes, built as from a configuration."""
    node = {**CONFIGS["inflated"], "weight": weight}
    node["base"] = {**CONFIGS[base], **changes, "_partial_": True}
    likelihood: Inflated = build("likelihood", node, levels=levels, channels=channels)
    return likelihood


def coupled(levels: int, channels: int = 2) -> Inflated:
    return Inflated(levels, channels, COUPLED, weight=0.1)


def joined(of_base: Tensor, zero: Tensor | float, top: Tensor | float) -> Tensor:
    """Outputs with these logits of the spikes for one channel, or for a coupled pixel."""
    logits = of_base[..., :1, :, :] * 0
    return torch.cat([of_base, logits + zero, logits + top], -3)


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=generator(0, "inflated"), dtype=torch.float64) * scale


def images(levels: int, *shape: int) -> Tensor:
    """Random levels, a third of them at each end."""
    k = torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)
    end = torch.randint(0, 3, shape, generator=generator(2))
    return torch.where(end == 0, 0, torch.where(end == 1, levels - 1, k))


def every_pixel(levels: int, channels: int) -> Tensor:
    """All images of one pixel, [K^C, 1, C, 1, 1]."""
    return torch.tensor(list(itertools.product(range(levels), repeat=channels))).view(-1, 1, channels, 1, 1)


def masses(likelihood: Likelihood, outputs: Tensor) -> Tensor:
    """P of every image of one pixel, [K^C, N]."""
    k = every_pixel(likelihood.levels, likelihood.channels)
    return likelihood.log_mass(outputs.expand(len(k), *outputs.shape), k).double().exp()


@pytest.mark.parametrize(("base", "levels"), SIZES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_it_is_the_base_and_two_spikes(base: str, levels: int, scale: float) -> None:
    """By hand in float64."""
    likelihood = inflated(base, levels, weight=0.2).double()
    plain: Likelihood = build("likelihood", CONFIGS[base], levels=levels, channels=1).double()
    outputs = normal(30, likelihood.output_channels, 1, 1, scale=scale)
    of_base, logits = outputs[:, :-2], outputs[:, -2:, 0, 0].numpy()
    # 0.2 : 0.2 : 0.6 where the logits are 0.
    zero, top, rest = special.softmax(np.column_stack([logits, np.full(30, np.log(3))]), 1).T
    expected = rest * masses(plain, of_base).numpy()
    expected[0] += zero
    expected[-1] += top
    np.testing.assert_allclose(masses(likelihood, outputs).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("base", "levels"), [*SIZES, ("bernoulli", 2), ("categorical", 256)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_pmf_sums_to_one(base: str, levels: int, scale: float) -> None:
    likelihood = inflated(base, levels)
    total = masses(likelihood, normal(50, likelihood.output_channels, 1, 1, scale=scale).float()).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("levels", "channels"), [(2, 2), (3, 3), (17, 2)])
def test_coupled_channels_have_spikes_together(levels: int, channels: int) -> None:
    """Every pixel of a small alphabet: only all-0 and all-top get more than their share of the base."""
    likelihood = coupled(levels, channels).double()
    outputs = normal(20, likelihood.output_channels, 1, 1)
    of_base, logits = outputs[:, :-2], outputs[:, -2:, 0, 0].numpy()
    zero, top, rest = special.softmax(np.column_stack([logits, np.full(20, np.log(8))]), 1).T
    expected = rest * masses(likelihood.base, of_base).numpy()
    expected[0] += zero
    expected[-1] += top
    np.testing.assert_allclose(masses(likelihood, outputs).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(expected.sum(0), 1, rtol=1e-6)
    one_pixel = likelihood.pixel_log_mass(outputs, images(levels, 20, channels, 1, 1))
    assert one_pixel.shape == (20, 1, 1, 1)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_without_weights_it_is_its_base(base: str, channels: int) -> None:
    likelihood = inflated(base, 17, channels)
    plain: Likelihood = build("likelihood", CONFIGS[base], levels=17, channels=channels)
    of_base = normal(3, 4, plain.output_channels, 2, 2).float()
    logits = torch.full((3, 4, likelihood.output_channels - plain.output_channels, 2, 2), -1e4)
    outputs, k = torch.cat([of_base, logits], -3), images(17, 4, channels, 2, 2)
    exactly = partial(torch.testing.assert_close, rtol=1e-6, atol=2e-6)
    exactly(likelihood.pixel_log_mass(outputs, k), plain.pixel_log_mass(of_base, k))
    exactly(likelihood.log_mass(outputs, k), plain.log_mass(of_base, k))
    exactly(likelihood.mean(outputs), plain.mean(of_base))


@pytest.mark.parametrize(("base", "channels"), [("beta_binomial", 3), ("logistic_mixture", 3)])
def test_outputs_are_those_of_the_base_and_logits_of_zero_then_of_the_top(base: str, channels: int) -> None:
    likelihood = inflated(base, 17, channels)
    spiked = 1 if base == "logistic_mixture" else channels
    assert likelihood.output_channels == likelihood.base.output_channels + 2 * spiked
    outputs = normal(1, likelihood.output_channels, 1, 1).float()
    for place in range(spiked):
        for end, k in ((1, 16), (2, 0)):
            certain = outputs.clone()
            certain[:, -end * spiked + place] = 1e4
            drawn = likelihood.sample(certain.expand(50, -1, 1, 1), generator(0))
            assert (drawn[:, place if spiked > 1 else slice(None)] == k).all()


@pytest.mark.parametrize("weight", [1e-6, 0.01, 0.4])
def test_outputs_of_zero_give_the_weight(weight: float) -> None:
    """The base at an edge of its range has no mass at the other end but the spike."""
    likelihood = inflated("binomial", 256, weight=weight)
    for eta, k in ((40.0, 0), (-40.0, 255)):
        outputs = joined(torch.full((1, 1, 1, 1), eta), 0.0, 0.0)
        mass = likelihood.log_mass(outputs, torch.full((1, 1, 1, 1), k)).exp().item()
        assert mass == pytest.approx(weight, rel=1e-5)


# --- Weights that are learned


def drawn(count: int, zero: float, top: float, rho: float, levels: int) -> np.ndarray:
    """Levels of a binomial with spikes, by numpy."""
    random = np.random.default_rng(5)
    branch, smooth = random.random(count), random.binomial(levels - 1, rho, count)
    return np.where(branch < zero, 0, np.where(branch < zero + top, levels - 1, smooth))


def fitted(likelihood: Likelihood, outputs: Tensor, free: list[int], k: np.ndarray) -> tuple[Tensor, float]:
    """Maximise the log-mass by the outputs at `free`; return all outputs and what is reached, a pixel."""
    given, counts = outputs.clone(), torch.tensor(np.bincount(k, minlength=likelihood.levels)) / len(k)
    chosen = outputs[:, free].clone().requires_grad_()
    levels = torch.arange(likelihood.levels).view(-1, 1, 1, 1)
    lbfgs = torch.optim.LBFGS(
        [chosen], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        parameters = given.index_copy(1, torch.tensor(free), chosen)
        return -(likelihood.log_mass(parameters.expand(len(levels), -1, 1, 1), levels) * counts).sum()

    def closure() -> float:
        lbfgs.zero_grad()
        value = loss()
        value.backward()
        return value.item()

    lbfgs.step(closure)  # type: ignore[no-untyped-call]
    return given.index_copy(1, torch.tensor(free), chosen).detach(), -loss().item()


def test_a_planted_spike_is_found() -> None:
    """The maximum in closed form: the shares of both ends are matched, and the inner levels have the rest."""
    levels, rho, count = 17, 0.3, 20_000
    k, p = drawn(count, 0.5, 0.05, rho, levels), stats.binom(levels - 1, rho).pmf([0, levels - 1])
    likelihood = inflated("binomial", levels).double()
    start = joined(torch.full((1, 1, 1, 1), special.logit(rho), dtype=torch.float64), 0.0, 0.0)
    found, _ = fitted(likelihood, start, [1, 2], k)
    zero, top, rest = (weight.item() for weight in likelihood._weights(found.view(1, 3, 1, 1, 1)[:, 1:]))
    ends = np.array([(k == 0).mean(), (k == levels - 1).mean()])
    share = (1 - ends.sum()) / (1 - p.sum())
    np.testing.assert_allclose([zero, top, rest], [*(ends - share * p), share], atol=1e-6)
    # Five standard errors of a share; p is nearly 0, so the weights have about the errors of the shares.
    assert zero == pytest.approx(0.5, abs=5 * (0.25 / count) ** 0.5)
    assert top == pytest.approx(0.05, abs=5 * (0.05 * 0.95 / count) ** 0.5)


def test_the_maximum_over_all_outputs_is_that_of_scipy() -> None:
    levels = 17
    k = drawn(20_000, 0.5, 0.05, 0.3, levels)
    counts = np.bincount(k, minlength=levels) / len(k)

    def loss(parameters: np.ndarray) -> float:
        eta, *logits = parameters
        zero, top, rest = special.softmax([*logits, 0.0])
        mass = rest * stats.binom(levels - 1, special.expit(eta)).pmf(np.arange(levels))
        mass[0] += zero
        mass[-1] += top
        return float(-counts @ np.log(mass))

    reference = optimize.minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9})
    likelihood = inflated("binomial", levels).double()
    found, reached = fitted(likelihood, torch.zeros(1, 3, 1, 1, dtype=torch.float64), [0, 1, 2], k)
    eta, *logits = found.flatten().numpy()
    offset = np.log(0.01 / 0.98)
    np.testing.assert_allclose([eta, *(logit + offset for logit in logits)], reference.x, atol=1e-5)
    # The table of the binomial is rounded to float32.
    assert reached == pytest.approx(-reference.fun, abs=1e-7)
    plain, without = fitted(Binomial(levels, 1).double(), torch.zeros(1, 1, 1, 1).double(), [0], k)
    assert plain.item() < eta  # what has no spike must fall to reach the zeros
    assert reached > without + 1


# --- Gradients


@pytest.mark.parametrize(("base", "levels"), [("binomial", 2), ("beta_binomial", 5), ("logistic_mixture", 5)])
def test_gradients_are_finite_differences(base: str, levels: int) -> None:
    likelihood = inflated(base, levels).double()
    outputs = normal(2, likelihood.output_channels, 1, 1, scale=0.7).requires_grad_()
    k = every_pixel(levels, 1)
    assert torch.autograd.gradcheck(
        lambda given: likelihood.pixel_log_mass(given.expand(len(k), -1, -1, -1, -1), k), outputs
    )


def test_gradients_of_coupled_channels_are_finite_differences() -> None:
    likelihood = coupled(3).double()
    outputs, k = normal(2, likelihood.output_channels, 1, 1).requires_grad_(), every_pixel(3, 2)
    assert torch.autograd.gradcheck(
        lambda given: likelihood.pixel_log_mass(given.expand(len(k), -1, -1, -1, -1), k), outputs
    )


@pytest.mark.parametrize("base", ["binomial", "beta_binomial", "categorical", "logistic_mixture", "laplace"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_nan_far_out(base: str, dtype: torch.dtype) -> None:
    likelihood = inflated(base, 17).to(dtype)
    ends = (-1e4, -100.0, 0.0, 100.0, 1e4)
    rows = torch.tensor(list(itertools.product(ends, repeat=3)), dtype=dtype).view(-1, 3, 1, 1)
    of_base = rows[:, :1].repeat(1, likelihood.base.output_channels, 1, 1)
    outputs, k = torch.cat([of_base, rows[:, 1:]], 1).requires_grad_(), every_pixel(17, 1)
    log_mass = likelihood.pixel_log_mass(outputs.expand(len(k), *outputs.shape), k)
    (gradient,) = torch.autograd.grad(log_mass.sum(), outputs)
    assert log_mass.isfinite().all()
    assert gradient.isfinite().all()
    assert log_mass.max() <= 1e-6
    for means in (likelihood.mean(outputs), likelihood.sample(outputs, generator(0)) / 16):
        assert ((means >= 0) & (means <= 1)).all()


def test_a_certain_spike_leaves_the_rest_its_logarithm() -> None:
    likelihood, of_base = inflated("binomial", 17), torch.zeros(1, 1, 1, 1)
    log_mass = likelihood.log_mass(joined(of_base, 1e4, -1e4).expand(17, -1, 1, 1), every_pixel(17, 1)[:, 0])
    expected = stats.binom(16, 0.5).logpmf(np.arange(17)) - 1e4 - np.log(0.01 / 0.98)
    assert log_mass[0] == 0
    np.testing.assert_allclose(log_mass[1:].numpy(), expected[1:], rtol=1e-6)


# --- Means and draws


@pytest.mark.parametrize(("base", "levels"), SIZES)
def test_mean_is_that_of_the_pmf(base: str, levels: int) -> None:
    likelihood = inflated(base, levels, weight=0.2)
    outputs = normal(40, likelihood.output_channels, 1, 1).float()
    expected = torch.arange(levels).double() / (levels - 1) @ masses(likelihood, outputs)
    torch.testing.assert_close(likelihood.mean(outputs).flatten().double(), expected, rtol=0, atol=2e-6)


def test_mean_of_coupled_channels_is_that_of_the_pmf() -> None:
    likelihood = coupled(5)
    outputs, points = normal(40, likelihood.output_channels, 1, 1).float(), every_pixel(5, 2).view(25, 2) / 4
    expected = masses(likelihood, outputs).T @ points.double()
    mean = likelihood.mean(outputs)
    assert mean.shape == (40, 2, 1, 1)
    torch.testing.assert_close(mean.flatten(1).double(), expected, rtol=0, atol=0.004)  # that of the base


@pytest.mark.parametrize("weight", [0.01, 0.3])
@pytest.mark.parametrize("kind", ["binomial", "coupled"])
def test_draws_follow_the_pmf(kind: str, weight: float) -> None:
    likelihood = (
        inflated("binomial", 9, weight=weight) if kind == "binomial" else Inflated(3, 2, COUPLED, weight)
    )
    outputs = normal(1, likelihood.output_channels, 1, 1, scale=0.3).float()
    count, expected = 20_000, masses(likelihood, outputs).flatten().numpy()
    sample = likelihood.sample(outputs.expand(count, -1, 1, 1), generator(4)).long().flatten(1)
    place = sample @ likelihood.levels ** torch.arange(likelihood.channels).flip(0)
    observed = np.bincount(place.numpy(), minlength=len(expected))
    assert expected.min() * count > 5
    assert stats.chisquare(observed, expected / expected.sum() * count).pvalue > 1e-4


# --- The base


def test_it_is_trained_on_the_mass_whatever_the_base_is_trained_on() -> None:
    likelihood = inflated("gaussian", 17, trained_on="density")
    assert likelihood.base.trained_on == "density"
    assert likelihood.trained_on == "mass"
    outputs, k = normal(9, 3, 2, 2).float(), images(17, 9, 1, 2, 2)
    assert likelihood.log_prob(outputs, k).equal(likelihood.log_mass(outputs, k))


def test_what_the_base_learns_is_learned_and_logged() -> None:
    likelihood = inflated("gaussian_learned", 17)
    assert likelihood.summary() == likelihood.base.summary() != {}
    outputs, k = normal(9, 3, 2, 2).float(), images(17, 9, 1, 2, 2)
    (slope,) = torch.autograd.grad(likelihood.log_mass(outputs, k).sum(), likelihood.parameters())
    assert slope != 0


def test_levels_are_those_of_the_base() -> None:
    assert inflated("bernoulli", 2).levels == 2
    with pytest.raises(UnsupportedLevels, match=r"^levels=17: bernoulli models binary pixels only"):
        inflated("bernoulli", 17)


MIXTURE = CONFIGS["inflated"]["base"]
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"weight": weight}, f"likelihood.weight={weight}: need more") for weight in (0, 0.5, -1, "x", None)),
    ({"base": "binomial"}, "likelihood.base=binomial: must be another likelihood"),
    ({"base": {**MIXTURE, "components": 0}}, "likelihood.base.components=0: must be a whole number"),
    ({"base": {**MIXTURE, "scale": -1}}, "likelihood.base.scale=-1: "),
    ({"base": {**MIXTURE, "law": "normal"}}, "likelihood.base.law=normal: must be a law"),
    ({"base": {**MIXTURE, "colour": 1}}, "likelihood.base=vae_likelihoods.likelihoods.mixture.Mixture: "),
    ({"base": {"_partial_": True, "_target_": "no.Where"}}, "likelihood.base._target_=no.Where: cannot be"),
    ({"base": {key: MIXTURE[key] for key in MIXTURE if key != "_partial_"}}, "likelihood.base=vae_likeli"),
    ({"base": {"_partial_": True, "_target_": "builtins.dict"}}, "likelihood.base="),
    ({"base": {**CONFIGS["inflated"], "_partial_": True}}, "likelihood.base="),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_is_refused_where_the_user_wrote_it(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        build("likelihood", {**CONFIGS["inflated"], **changes}, levels=17, channels=1)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_law_in_the_base_is_refused_where_the_user_wrote_it() -> None:
    base = {**CONFIGS["student_t"], "_partial_": True}
    base["law"] = {**base["law"], "df": 3}
    with pytest.raises(SettingError, match=r"^likelihood\.base\.law\.df=3: must be even"):
        build("likelihood", {**CONFIGS["inflated"], "base": base}, levels=17, channels=1)


def test_the_base_can_be_changed_and_replaced_on_the_command_line(
    configuration: Callable[..., DictConfig],
) -> None:
    def chosen(*words: str) -> Inflated:
        settings = read(configuration("dataset=digits", "levels=17", "likelihood=inflated", *words))
        likelihood = build_likelihood(settings, channels=3)
        assert isinstance(likelihood, Inflated)
        return likelihood

    assert isinstance(chosen().base, Mixture)
    assert chosen("likelihood.base.components=5").base.outputs_per_channel == 15
    # As the comment in the YAML has it.
    node = "{_partial_: true, _target_: vae_likelihoods.likelihoods.binomial.Binomial}"
    assert isinstance(chosen("~likelihood.base", f"+likelihood.base={node}").base, Binomial)
