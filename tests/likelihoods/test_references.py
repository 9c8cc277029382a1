"""Every likelihood against a distribution that others wrote: scipy in float64, mpmath in 50 digits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from scipy import special, stats
from torch import Tensor

import compositions
from compositions import NODES
from vae_likelihoods.likelihoods.base import Likelihood, UnsupportedLevels
from vae_likelihoods.seeding import generator

Array = np.ndarray

LEVELS = (2, 3, 17, 256)
RTOL, ATOL = 3e-6, 5e-6  # of a log-mass in nats; float32 alone has 6e-8 of the largest number on the way


# --- Parameters: what a likelihood makes of its float32 outputs, in float64, each [N, 1]


def numbers(*parts: Tensor) -> list[Array]:
    return [part.detach().double().numpy().reshape(-1, 1) for part in parts]


def raw(likelihood: Likelihood, outputs: Tensor) -> list[Array]:
    return numbers(*outputs.unbind(-4))


def trials_and_logit(likelihood: Likelihood, outputs: Tensor) -> list[Array]:
    return [np.full((len(outputs), 1), likelihood.levels - 1.0), *raw(likelihood, outputs)]


def mean_and_scale(likelihood: Any, outputs: Tensor) -> list[Array]:
    mean, scale = likelihood._mean_and_scale(outputs)
    return numbers(mean, scale.expand_as(mean))


def near_mean_and_scale(likelihood: Any, outputs: Tensor) -> list[Array]:
    """Means are clipped 1000 ranges away, as the likelihood does."""
    mean, scale = mean_and_scale(likelihood, outputs)
    return [mean.clip(-1e3, 1e3), scale]


def mean_scale_and_df(likelihood: Any, outputs: Tensor) -> list[Array]:
    return [*mean_and_scale(likelihood, outputs), np.full((len(outputs), 1), float(likelihood.law.df))]


def shapes(likelihood: Any, outputs: Tensor) -> list[Array]:
    return [np.exp(log) for log in numbers(*likelihood._log_shape(outputs))]


def trials_and_counts(likelihood: Any, outputs: Tensor) -> list[Array]:
    eta, log_c = numbers(*likelihood._mean_and_concentration(outputs))
    trials = np.full_like(eta, likelihood.levels - 1)
    return [trials, np.exp(log_c) * special.expit(eta), np.exp(log_c) * special.expit(-eta)]


def components(likelihood: Any, outputs: Tensor) -> list[Array]:
    logits, means, raw_scales, _ = likelihood._components(outputs)
    logits, means, scales = (
        part.double().numpy().reshape(len(outputs), 1, -1)
        for part in (logits, means, likelihood.scale.of([raw_scales]))
    )
    return [special.softmax(logits, axis=-1), means, scales]


def spikes_and_components(likelihood: Any, outputs: Tensor) -> list[Array]:
    of_base, logits = likelihood._split(outputs)
    base = likelihood.base
    spikes = logits.double().numpy().reshape(-1, 2) + likelihood.offset
    weights = special.softmax(np.column_stack([spikes, np.zeros(len(spikes))]), axis=1)
    return [weights, np.full(1, likelihood.levels), *components(base, base._parameters_of(of_base))]


def weights_and_table(likelihood: Any, outputs: Tensor) -> list[Array]:
    weights = special.softmax(outputs.double().numpy().reshape(len(outputs), -1), axis=1)
    if likelihood.table is None:
        return [weights, np.eye(likelihood.levels)]
    return [weights, special.softmax(likelihood.table.detach().double().numpy(), axis=1)]


# --- Distributions that scipy does not have


@dataclass
class Mirrored:
    """The law of 1 - x where `flip` holds, of x elsewhere."""

    law: Any
    flip: Array

    def cdf(self, x: Array) -> Array:
        return np.where(self.flip, self.law.sf(1 - x), self.law.cdf(x))

    def sf(self, x: Array) -> Array:
        return np.where(self.flip, self.law.cdf(1 - x), self.law.sf(x))

    def logpdf(self, x: Array) -> Array:
        return self.law.logpdf(np.where(self.flip, 1 - x, x))


@dataclass
class Mixture:
    """Components stand on the last axis."""

    weights: Array
    law: Any

    def cdf(self, x: Array) -> Array:
        return (self.weights * self.law.cdf(x[:, None])).sum(-1)

    def sf(self, x: Array) -> Array:
        return (self.weights * self.law.sf(x[:, None])).sum(-1)

    def logpdf(self, x: Array) -> Array:
        return special.logsumexp(self.law.logpdf(x[:, None]), b=self.weights, axis=-1)


@dataclass
class HyperbolicSecant:
    """scipy has it too, but warns of overflow in its tails."""

    mean: Array
    scale: Array

    def _u(self, x: Array | float) -> Array:
        return (x - self.mean) / self.scale

    def sf(self, x: Array | float) -> Array:
        return 2 / np.pi * np.arctan(np.exp(-self._u(x).clip(-700, 700)))

    def cdf(self, x: Array | float) -> Array:
        return 2 / np.pi * np.arctan(np.exp(self._u(x).clip(-700, 700)))

    def logpdf(self, x: Array) -> Array:
        return np.log(2 / np.pi) - np.logaddexp(self._u(x), -self._u(x)) - np.log(self.scale)


@dataclass
class Truncated:
    """`law` on [0, 1] alone, from the tails on the side where they are smaller."""

    law: Any

    def _share(self, low: Array | float, high: Array | float) -> Array:
        from_below = self.law.cdf(high) - self.law.cdf(low)
        share = np.where(self.law.cdf(high) < 0.5, from_below, self.law.sf(low) - self.law.sf(high))
        return np.where((share > 1e-290) | (share == 0), share, np.nan)  # below, digits are lost

    def cdf(self, x: Array) -> Array:
        return self._share(0.0, x) / self._whole()

    def sf(self, x: Array) -> Array:
        return self._share(x, 1.0) / self._whole()

    def logpdf(self, x: Array) -> Array:
        log_density = self.law.logpdf(x)
        return np.where(log_density > -700, log_density, -np.inf) - np.log(self._whole())

    def _whole(self) -> Array:
        whole = self._share(0.0, 1.0)
        return np.where(whole > 0, whole, np.nan)


@dataclass
class Kumaraswamy:
    """P(x > t) = (1 - t^a)^b."""

    a: Array
    b: Array

    def sf(self, x: Array) -> Array:
        return np.exp(self.b * self._log_one_less_power(x))

    def cdf(self, x: Array) -> Array:
        return -np.expm1(self.b * self._log_one_less_power(x))

    def logpdf(self, x: Array) -> Array:
        flat = np.log(self.a) + np.log(self.b) + (self.a - 1) * np.log(x)
        return flat + (self.b - 1) * self._log_one_less_power(x)

    def _log_one_less_power(self, x: Array) -> Array:
        with np.errstate(divide="ignore"):
            log_power = self.a * np.log(x)
            return np.where(log_power < -1, np.log1p(-np.exp(log_power)), np.log(-np.expm1(log_power)))


@dataclass
class OfLogits:
    """x whose logit follows `law`; its cdf takes logits, its density takes x."""

    law: Any

    def cdf(self, logit: Array) -> Array:
        return self.law.cdf(logit)

    def sf(self, logit: Array) -> Array:
        return self.law.sf(logit)

    def logpdf(self, x: Array) -> Array:
        return self.law.logpdf(special.logit(x)) - np.log(x) - np.log1p(-x)


@dataclass
class Table:
    probabilities: Array  # [N, K]

    def logpmf(self, k: Array) -> Array:
        return np.log(self.probabilities[:, k])


@dataclass
class Inflated:
    """`law` over levels, its tails in the end bins, with spikes at both ends."""

    weights: Array  # [N, 3], the last of the law
    levels: int
    law: Any

    def logpmf(self, k: Array) -> Array:
        log_masses, sound = differences(self.law, censored(self.levels))
        assert sound.all()
        masses = self.weights[:, 2:] * np.exp(log_masses)
        masses[:, 0] += self.weights[:, 0]
        masses[:, -1] += self.weights[:, 1]
        return np.log(masses[:, k])


def falling_from_an_end(eta: Array) -> Mirrored:
    """p(x) proportional to exp(eta x); scipy has only falling slopes, and none of 0."""
    steep = np.maximum(np.abs(eta), 1e-6)
    return Mirrored(stats.truncexpon(steep, scale=1 / steep), eta > 0)


# --- The same in 50 digits: the mass of [low, high] under the parameters of one pixel


def between(tail: Callable[..., mpf]) -> Callable[..., mpf]:
    """The mass under mean + scale u, from P(u > t) of a symmetric law."""

    def mass(low: mpf, high: mpf, mean: mpf, scale: mpf, *shape: mpf) -> mpf:
        a, b = (low - mean) / scale, (high - mean) / scale
        if a + b < 0:  # on the other side both tails are small, and their difference has all digits
            a, b = -b, -a
        return (1 - tail(-a, *shape) if a < 0 else tail(a, *shape)) - tail(b, *shape)

    return mass


normal = between(lambda u: mpmath.erfc(u / mpmath.sqrt(2)) / 2)
laplace = between(lambda u: mpmath.exp(-u) / 2)
logistic = between(lambda u: 1 / (1 + mpmath.exp(u)))
secant = between(lambda u: 2 / mpmath.pi * mpmath.atan(mpmath.exp(-u)))


def _student_tail(u: mpf, df: mpf) -> mpf:
    return mpmath.betainc(df / 2, mpf(1) / 2, 0, df / (df + u * u), regularized=True) / 2


student = between(_student_tail)


def truncated(mass: Callable[..., mpf]) -> Callable[..., mpf]:
    """The share of [0, 1]."""
    return lambda low, high, *parameters: mass(low, high, *parameters) / mass(mpf(0), mpf(1), *parameters)


def exponential_slope(low: mpf, high: mpf, eta: mpf) -> mpf:
    if eta == 0:
        return high - low
    return mpmath.exp(eta * low) * mpmath.expm1(eta * (high - low)) / mpmath.expm1(eta)


def kumaraswamy(low: mpf, high: mpf, a: mpf, b: mpf) -> mpf:
    before, after = (b * mpmath.log1p(-(edge**a)) if edge < 1 else mpf("-inf") for edge in (low, high))
    return -mpmath.exp(before) * mpmath.expm1(after - before)


def bernoulli(k: mpf, eta: mpf) -> mpf:
    return 1 / (1 + mpmath.exp((1 - 2 * k) * eta))


def binomial(k: mpf, n: mpf, eta: mpf) -> mpf:
    return mpmath.binomial(n, k) * bernoulli(mpf(1), eta) ** k * bernoulli(mpf(0), eta) ** (n - k)


def beta_binomial(k: mpf, n: mpf, a: mpf, b: mpf) -> mpf:
    return mpmath.binomial(n, k) * mpmath.rf(a, k) * mpmath.rf(b, n - k) / mpmath.rf(a + b, n)


def mixed(mass: Callable[..., mpf]) -> Callable[..., mpf]:
    """The mass under a mixture, from weights, means and scales."""

    def of_mixture(low: mpf, high: mpf, *parts: mpf) -> mpf:
        third = len(parts) // 3
        rows = zip(parts[:third], parts[third : 2 * third], parts[2 * third :], strict=True)
        return sum((weight * mass(low, high, mean, scale) for weight, mean, scale in rows), mpf(0))

    return of_mixture


# --- The table


def unit(levels: int) -> Array:
    return np.arange(levels + 1) / levels


def censored(levels: int) -> Array:
    """As float32 has them, which neighbours share: a scale of 1e-4 sees the rounding of 1/3."""
    edges = unit(levels).astype(np.float32).astype(np.float64)
    edges[[0, -1]] = -np.inf, np.inf
    return edges


def logits(levels: int) -> Array:
    return special.logit(unit(levels)).astype(np.float32).astype(np.float64)


def points(levels: int) -> Array:
    return (np.arange(levels, dtype=np.float32) / np.float32(levels - 1)).astype(np.float64)


def centres(levels: int) -> Array:
    return ((np.arange(levels, dtype=np.float32) + np.float32(0.5)) / np.float32(levels)).astype(np.float64)


@dataclass(frozen=True)
class Reference:
    """A distribution and where its parameters come from; for one with bins also edges, digits and points."""

    parameters: Callable[..., list[Array]]
    law: Callable[..., Any]
    edges: Callable[[int], Array] | None = None
    digits: Callable[..., mpf] | None = None
    dense_at: Callable[[int], Array] = points
    rtol: float = RTOL
    slope_rtol: float = 3e-5
    blur_bins: float = 0.0  # how far from its point a density is taken


def logistic_mixture(weights: Array, mean: Array, scale: Array) -> Mixture:
    return Mixture(weights, stats.logistic(mean, scale))


def mixture_of(law: Any, mass: Callable[..., mpf]) -> Reference:
    return Reference(
        components,
        lambda weights, mean, scale: Mixture(weights, law(mean, scale)),
        censored,
        mixed(mass),
    )


def of_logits(
    law: Callable[..., Any], mass: Callable[..., mpf], parameters: Callable[..., list[Array]] = mean_and_scale
) -> Reference:
    # The logit of a point in float32 is off by up to 6e-7, which a scale of 0.3 bins sees.
    return Reference(
        parameters,
        lambda *numbers: OfLogits(law(*numbers)),
        logits,
        mass,
        centres,
        3e-6,
        3e-4,
        blur_bins=5e-5,
    )


def truncated_of(law: Any, mass: Callable[..., mpf]) -> Reference:
    return Reference(
        near_mean_and_scale,
        lambda mean, scale: Truncated(law(mean, scale)),
        unit,
        truncated(mass),
        blur_bins=1e-3,
    )


def student_t(mean: Array, scale: Array, df: Array) -> Any:
    return stats.t(df, mean, scale)


GAUSSIAN = Reference(mean_and_scale, stats.norm, censored, normal)
REFERENCES = {
    "bernoulli": Reference(raw, lambda eta: stats.bernoulli(special.expit(eta)), None, bernoulli),
    "beta_binomial": Reference(trials_and_counts, stats.betabinom, None, beta_binomial),
    "binomial": Reference(
        trials_and_logit, lambda n, eta: stats.binom(n, special.expit(eta)), None, binomial
    ),
    "categorical": Reference(weights_and_table, lambda weights, table: Table(weights @ table)),
    "continuous_bernoulli": Reference(raw, falling_from_an_end, unit, exponential_slope),
    "gaussian": GAUSSIAN,
    "gaussian_learned": GAUSSIAN,
    "gaussian_per_pixel": GAUSSIAN,
    "inflated": Reference(
        spikes_and_components,
        lambda weights, levels, *parts: Inflated(weights, int(levels[0]), logistic_mixture(*parts)),
    ),
    "kumaraswamy": Reference(shapes, Kumaraswamy, unit, kumaraswamy, centres),
    "laplace": Reference(mean_and_scale, stats.laplace, censored, laplace),
    "logistic": Reference(mean_and_scale, stats.logistic, censored, logistic),
    "composed_mixture_laplace": mixture_of(stats.laplace, laplace),
    "logistic_mixture": mixture_of(stats.logistic, logistic),
    "composed_mixture_normal": mixture_of(stats.norm, normal),
    "composed_mixture_secant": mixture_of(HyperbolicSecant, secant),
    "logit_normal": of_logits(stats.norm, normal),
    "composed_logit_secant": of_logits(HyperbolicSecant, secant),
    "composed_logit_student_t": of_logits(student_t, student, mean_scale_and_df),
    "composed_secant": Reference(mean_and_scale, HyperbolicSecant, censored, secant),
    "student_t": Reference(
        mean_scale_and_df,
        student_t,
        censored,
        student,
        # Far out a slope is a difference of densities, and by the scale it is multiplied by the distance.
        slope_rtol=3e-4,
    ),
    "composed_truncated_laplace": truncated_of(stats.laplace, laplace),
    "composed_truncated_secant": truncated_of(HyperbolicSecant, secant),
    "truncated_gaussian": Reference(
        near_mean_and_scale,
        lambda mean, scale: stats.truncnorm(-mean / scale, (1 - mean) / scale, mean, scale),
        unit,
        truncated(normal),
        # Bins are counted from K mu, which float32 rounds unless K is a power of 2: 0.01 bins see it.
        rtol=5e-6,
        # Its density is the mass of 1e-3 of a bin; at 0 and at 1 that interval lies beside the point.
        blur_bins=1e-3,
    ),
}


def test_every_likelihood_has_a_reference():
    assert REFERENCES.keys() == NODES.keys()


# --- Where they are compared


def build(name: str, levels: int, bins: float | None = None, **changes: Any) -> Likelihood:
    """The likelihood of that name, with a scale of so many bins if it has one."""
    if bins and "scale" in NODES[name]:
        changes["scale"] = bins / levels
        if "min_scale" in NODES[name]:
            changes["min_scale"] = bins / 2
    return compositions.build(name, levels, **changes)


def supported() -> Iterator[Any]:
    for name, levels in itertools.product(sorted(NODES), LEVELS):
        try:
            build(name, levels)
        except UnsupportedLevels:
            continue
        yield pytest.param(name, levels, id=f"{name}-{levels}")


every = pytest.mark.parametrize(("name", "levels"), list(supported()))
every_density = pytest.mark.parametrize(
    "name", [name for name, reference in REFERENCES.items() if reference.edges]
)


def has_scale(name: str) -> bool:
    return "scale" in NODES[name]


def is_mixture(name: str) -> bool:
    return REFERENCES[name].parameters is components


def outputs_at(name: str, likelihood: Likelihood, numbers: Sequence[float]) -> Tensor:
    """Outputs [N, P, 1, 1] with these means, if there are means and scales; otherwise of these sizes."""
    count, column = likelihood.output_channels, torch.tensor(numbers).unsqueeze(1)
    rows = torch.randn(len(numbers), count, generator=generator(0, "outputs"))
    if name == "categorical":
        rows *= column
    elif name == "inflated":  # a moderate base, and spikes from none to nearly all
        rows = rows.repeat(len(numbers), 1)
        rows[:, :-2] *= 0.3
        rows[:, -2:] = torch.tensor(list(itertools.product(numbers, numbers)))
    elif is_mixture(name):
        rows[:, count // 3 : 2 * count // 3] *= 0.1
        rows[:, count // 3 : 2 * count // 3] += column
    elif count == 1:
        rows = column
    else:
        others = (0.0, -0.3, 2.0) if has_scale(name) else numbers
        rows = torch.tensor(list(itertools.product(numbers, others)))
    return rows.view(-1, count, 1, 1)


def cases(
    name: str, levels: int, all_bins: Sequence[float], **changes: Any
) -> Iterator[tuple[Likelihood, Tensor]]:
    """Means inside [0, 1], on edges of bins and outside, with every scale; or outputs near 0 and far."""
    if not has_scale(name):
        likelihood = build(name, levels, **changes)
        yield (
            likelihood,
            outputs_at(name, likelihood, (-20.0, -7.0, -2.5, -0.3, 0.0, 1e-9, 0.4, 3.0, 8.0, 20.0)),
        )
        return
    means = [-30.0, -1.0, -0.02, 0.0, 1e-9, 0.3, 0.5, 0.501, 1.0, 1.03, 4.0]
    edges = [j / levels for j in (1, levels // 2, levels - 1)]
    for bins in all_bins:
        likelihood = build(name, levels, bins, **changes)
        yield likelihood, outputs_at(name, likelihood, means + edges)


def law_of(name: str, likelihood: Likelihood, outputs: Tensor) -> Any:
    reference = REFERENCES[name]
    return reference.law(*reference.parameters(likelihood, likelihood._parameters_of(outputs)))


def log_masses(likelihood: Likelihood, outputs: Tensor, levels: Sequence[int]) -> Array:
    """[N, len(levels)], of images of one pixel."""
    images = torch.tensor(levels).view(-1, 1, 1, 1, 1)
    masses = likelihood.log_mass(outputs.expand(len(levels), *outputs.shape), images)
    return masses.T.detach().double().numpy()


def differences(law: Any, edges: Array) -> tuple[Array, Array]:
    """The log-masses between edges from the smaller tails, and where they have digits left in float64."""
    cdf, sf = law.cdf(edges), law.sf(edges)
    below = cdf[:, 1:] < sf[:, :-1]
    mass = np.where(below, np.diff(cdf), -np.diff(sf))
    of_tail = mass / np.maximum(np.where(below, cdf[:, 1:], sf[:, :-1]), 1e-290)
    sound = of_tail > 1e-9
    return np.log(np.where(sound, mass, 1)), sound


@every
def test_log_mass_is_scipys(name: str, levels: int):
    edges, compared = REFERENCES[name].edges, []
    for likelihood, outputs in cases(name, levels, (0.01, 0.1, 0.3, 1.0, 10.0, 100.0, 1000.0)):
        law, ours = law_of(name, likelihood, outputs), log_masses(likelihood, outputs, range(levels))
        if edges is None:
            value, sound = law.logpmf(np.arange(levels)), np.ones_like(ours, dtype=bool)
        else:
            value, sound = differences(law, edges(levels))
        np.testing.assert_allclose(ours[sound], value[sound], REFERENCES[name].rtol, ATOL)
        compared.append(sound.mean())
    assert np.mean(compared) > 0.3  # with a scale of 0.01 bins scipy has digits for few masses of a Gaussian


@pytest.mark.parametrize("name", [name for name, reference in REFERENCES.items() if reference.digits])
def test_log_mass_has_its_digits_in_far_tails_and_narrow_bins(name: str):
    """Means 10 and 100 scales away, bins 1e-4 .. 100 scales wide."""
    reference, levels = REFERENCES[name], 256 if name != "bernoulli" else 2
    chosen, far = sorted({0, 1, levels // 2, levels - 2, levels - 1}), (-100.0, -10.0, 0.3, 10.0, 100.0)
    for bins in (0.01, 1.0, 1e4) if has_scale(name) else (None,):
        likelihood = build(name, levels, bins)
        numbers = far if bins is None else [0.5 + distance * bins / levels for distance in far]
        outputs = outputs_at(name, likelihood, numbers)
        parameters = np.concatenate(reference.parameters(likelihood, likelihood._parameters_of(outputs)), -1)
        ours = log_masses(likelihood, outputs, chosen)
        with mpmath.workdps(50):
            exact = [
                [float(mpmath.log(mass_of(reference, levels, k, row.ravel()))) for k in chosen]
                for row in parameters
            ]
        np.testing.assert_allclose(ours, np.array(exact), reference.rtol, ATOL)


def mass_of(reference: Reference, levels: int, k: int, parameters: Iterable[mpf]) -> mpf:
    assert reference.digits is not None
    where = [k] if reference.edges is None else reference.edges(levels)[k : k + 2]
    return reference.digits(*map(mpf, where), *map(mpf, parameters))


@pytest.mark.parametrize("name", [name for name in REFERENCES if has_scale(name) and not is_mixture(name)])
@pytest.mark.parametrize("bins", [0.01, 0.3, 1.0, 30.0, 300.0, 1e4])
def test_gradients_by_mean_and_scale_are_those_of_fifty_digits(name: str, bins: float):
    """Of one scale for all pixels, and of the mean of each; in units of the scale."""
    reference, levels, chosen = REFERENCES[name], 256, (0, 1, 77, 254, 255)
    shared = {} if name == "gaussian" else {"per_pixel": False}
    likelihood = build(name, levels, bins, **shared)
    for distance in (-20.0, -3.0, 0.2, 10.0):
        outputs = torch.tensor(0.4 + distance * bins / levels).view(1, 1, 1, 1).requires_grad_()
        parameters = reference.parameters(likelihood, likelihood._parameters_of(outputs))
        mean, scale, *shape = [mpf(value.item()) for value in parameters]
        for k in chosen:
            log_mass = likelihood.log_mass(outputs, torch.tensor(k).view(1, 1, 1, 1))
            leaves = [outputs, *likelihood.parameters()]
            gradients = [gradient.item() for gradient in torch.autograd.grad(log_mass, leaves)]
            with mpmath.workdps(60):
                step = scale * mpf("1e-20")
                ends = [
                    mpmath.log(mass_of(reference, levels, k, (mean + i * step, scale + j * step, *shape)))
                    for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1))
                ]
                exact = [float((ends[i] - ends[i + 1]) / (2 * step)) * float(scale) for i in (0, 2)]
            excess = float(scale) - getattr(likelihood.scale, "floor", 0)
            by_mean, *by_excess = gradients
            ours = [by_mean * float(scale), *(slope / excess * float(scale) for slope in by_excess)]
            np.testing.assert_allclose(ours, exact[: len(ours)], reference.slope_rtol, 1e-4)


@pytest.fixture(autouse=True)
def _denormals() -> None:
    """Keep denormal numbers, which training sets to 0: scipy's sums of small densities need them."""
    torch.set_flush_denormal(False)


@every_density
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_log_density_is_scipys(name: str, levels: int):
    x, blur = REFERENCES[name].dense_at(levels), REFERENCES[name].blur_bins / levels
    for likelihood, outputs in cases(name, levels, (0.3, 1.0, 30.0, 1000.0), trained_on="density"):
        images = torch.arange(levels).view(-1, 1, 1, 1, 1)
        ours = likelihood.log_prob(outputs.expand(levels, *outputs.shape), images).T.detach().double().numpy()
        law = law_of(name, likelihood, outputs)
        value = law.logpdf(x)
        known = value > (-700 if "laplace" in name else -np.inf)  # scipy takes the log of what underflows
        assert known.mean() > 0.6
        around = [law.logpdf(at.clip(0, 1)) for at in ((x - blur, x + blur) if blur else ())]
        with np.errstate(invalid="ignore"):  # of what is not known
            allowed = ATOL + RTOL * np.abs(value) + sum(np.abs(near - value) for near in around)
        assert (np.abs(ours - value)[known] <= allowed[known]).all()
