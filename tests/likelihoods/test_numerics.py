"""Each protected formula alone, against scipy in float64 or mpmath."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from vae_likelihoods.likelihoods import normal_numerics, numerics
from vae_likelihoods.likelihoods.bins import FAR, Law
from vae_likelihoods.likelihoods.laplace import Laplace
from vae_likelihoods.likelihoods.logistic_numerics import log_logistic_bin, softplus
from vae_likelihoods.likelihoods.normal_numerics import log_normal_bin
from vae_likelihoods.likelihoods.student_t import StudentT


def assert_near(
    actual: torch.Tensor, expected: np.ndarray, rtol: float | np.ndarray, atol: float | np.ndarray = 0.0
) -> None:
    """As numpy's, which takes one rtol."""
    found = actual.detach().double().numpy()
    np.testing.assert_array_less(np.abs(found - expected), atol + rtol * np.abs(expected) + 1e-300)


@pytest.fixture(autouse=True)
def fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


def exact(function: Callable[..., mpmath.mpf], x: torch.Tensor) -> np.ndarray:
    """`function` at the float32 values of `x`, in 50 digits."""
    return np.array([float(function(mpmath.mpf(value))) for value in x.tolist()])


def test_langevin_ratio():
    y = torch.cat([torch.logspace(-12, 8, 400), torch.tensor([0.75, 0.7499])])
    expected = exact(lambda v: (mpmath.coth(v) - 1 / v) / v, y)
    assert_near(numerics.langevin_ratio(y), expected, rtol=2e-6)
    assert torch.equal(numerics.langevin_ratio(-y), numerics.langevin_ratio(y))
    assert numerics.langevin_ratio(torch.zeros(1)).item() == pytest.approx(1 / 3)


def test_log_uniform_decay_and_its_slope():
    t = torch.logspace(-8, 6, 300).requires_grad_()
    value = numerics.log_uniform_decay(t)
    assert_near(value, exact(lambda v: mpmath.log(-mpmath.expm1(-v) / v), t), rtol=1e-6, atol=2e-7)
    (slope,) = torch.autograd.grad(value.sum(), t)
    assert_near(slope, exact(lambda v: 1 / mpmath.expm1(v) - 1 / v, t), rtol=1e-5, atol=2e-7)
    zero = torch.zeros(1, requires_grad=True)
    value = numerics.log_uniform_decay(zero)
    assert value.item() == 0
    assert torch.autograd.grad(value.sum(), zero)[0].item() == -0.5


def test_log1mexp():
    t = torch.cat([torch.logspace(-30, 1.9, 400), torch.tensor([math.log(2), 0.693, 0.6932])])
    assert_near(numerics.log1mexp(t), exact(lambda v: mpmath.log1p(-mpmath.exp(-v)), t), rtol=1e-6)


@pytest.mark.parametrize("bound", [0.5, math.log(1e4)])
def test_bounded_and_its_slope(bound: float):
    x = torch.cat([-torch.logspace(-6, 3, 60), torch.zeros(1), torch.logspace(-6, 3, 60)])
    value = numerics.bounded(x, bound)
    wide = x.double().numpy() / bound
    assert_near(value, bound * np.tanh(wide), rtol=0, atol=2e-7 * bound)
    assert (value.abs() <= bound).all()
    again, slope = numerics.bounded_with_slope(x, bound)
    assert_near(again, value.double().numpy(), rtol=0, atol=2e-7 * bound)
    assert_near(slope, np.cosh(wide.clip(-300, 300)) ** -2, rtol=0, atol=5e-7)


def test_softplus():
    x = torch.cat([-torch.logspace(-6, 3, 100), torch.zeros(1), torch.logspace(-6, 3, 100)])
    assert_near(softplus(x), np.logaddexp(0, x.double().numpy()), rtol=1e-7, atol=1e-7)


class Case(NamedTuple):
    """A law of `bins`, the same in 50 digits, and what its forms cost."""

    law: Law
    tail: Callable[[mpmath.mpf], mpmath.mpf]  # P(U > u) for u >= 0
    density: Callable[[mpmath.mpf], mpmath.mpf]
    atol: float = 1e-6  # of the log-mass
    open_atol: float = 1e-6  # of that of an end bin
    cancels: Callable[[float, float], bool] = lambda centre, width: False  # the slope by position
    cancelled: float = 0.0  # then, as a part of density over mass, of which it is a difference
    far: float = 0.0  # of the slope by width, relative, for each scale from the mean


def _student(df: int) -> Case:
    half = mpmath.mpf(df) / 2

    def tail(u: mpmath.mpf) -> mpmath.mpf:
        return mpmath.betainc(half, 0.5, 0, df / (df + u * u), regularized=True) / 2

    def density(u: mpmath.mpf) -> mpmath.mpf:
        return (1 + u * u / df) ** (-half - 0.5) / (mpmath.sqrt(df) * mpmath.beta(half, 0.5))

    law = StudentT(levels=256, channels=1, df=df)._law
    # In an end bin two logs of 1e15 are subtracted, whose last digit is 4e-6.
    return Case(law, tail, density, 3e-6, 5e-6)


def _logistic_density(u: mpmath.mpf) -> mpmath.mpf:
    return mpmath.exp(-abs(u)) / (1 + mpmath.exp(-abs(u))) ** 2


LAWS = {
    "normal": Case(log_normal_bin, lambda u: mpmath.erfc(u / mpmath.sqrt(2)) / 2, mpmath.npdf),
    "laplace": Case(
        Laplace(levels=256, channels=1)._law,
        lambda u: mpmath.exp(-u) / 2,
        lambda u: mpmath.exp(-abs(u)) / 2,
        cancels=lambda c, w: c < w / 2,  # around the mode; beside it the slope is 1
        cancelled=2e-7,
        far=6e-8,
    ),
    "logistic": Case(log_logistic_bin, lambda u: 1 / (1 + mpmath.exp(u)), _logistic_density),
    **{f"student_t with df={df}": _student(df) for df in (2, 4, 10)},
}
every_law = pytest.mark.parametrize("case", LAWS.values(), ids=LAWS.keys())

SWITCHES = [limit * side for limit in (0.02, normal_numerics._NARROW) for side in (0.999, 1.001)]
WIDTHS = (1e-8, 1e-4, 1e-3, 0.1, 0.7, 3.0, 10.0, 100.0, 1e4, *SWITCHES)
CENTRES = (0.0, 1e-6, 1e-3, 0.01, 0.3, 1.0, 2.2, 5.0, 9.0, 15.0, 40.0, 300.0, 1e4)


def centres_around(width: float) -> list[float]:
    """Also where one form gives way to another, on both sides: an edge at the mode or _TAIL, c w = _FLAT."""
    switches = [width / 2, width / 2 + normal_numerics._TAIL, normal_numerics._FLAT / width]
    return sorted({*CENTRES, *(c * side for c in switches for side in (0.999, 1.001) if c < 1e5)})


def exact_slopes(case: Case, c: mpmath.mpf, w: mpmath.mpf) -> tuple[float, float, float]:
    """The log-mass of c - w/2 .. c + w/2 for c >= 0, and its derivatives by c and by w."""
    a, b = c - w / 2, c + w / 2
    mass = (case.tail(a) if a >= 0 else 1 - case.tail(-a)) - case.tail(b)
    at_a, at_b = case.density(a) / mass, case.density(b) / mass
    return float(mpmath.log(mass)), float(at_b - at_a), float((at_a + at_b) / 2)


@every_law
@pytest.mark.parametrize("width", WIDTHS)
def test_bins_and_their_slopes(case: Case, width: float):
    """Narrow, wide, around the mode, beside it and far."""
    c, w = torch.tensor(centres_around(width)), torch.tensor(width)
    lower, upper = ((c.double() + side * w.double() / 2).float() for side in (-1, 1))
    found = case.law(lower, upper, w.expand_as(c), torch.ones_like(c))
    expected = np.array([exact_slopes(case, mpmath.mpf(v), mpmath.mpf(w.item())) for v in c.tolist()])
    assert_near(found.log_mass, expected[:, 0], rtol=1e-6, atol=case.atol)
    noise = np.array([case.cancels(v, w.item()) for v in c.tolist()]) * case.cancelled * expected[:, 2]
    assert_near(found.by_position, expected[:, 1], rtol=1e-5, atol=1e-6 + noise)
    assert_near(found.by_width, expected[:, 2], rtol=1e-5 + case.far * c.numpy(), atol=1e-10)
    mirrored = case.law(-upper, -lower, w.expand_as(c), torch.ones_like(c))
    assert_near(mirrored.log_mass, found.log_mass.double().numpy(), rtol=3e-7, atol=1e-7)
    assert_near(-mirrored.by_position, found.by_position.double().numpy(), rtol=3e-7, atol=1e-7)


@every_law
@pytest.mark.parametrize("width", [1e-8, 1e-2, 1.0, 1e4])
def test_end_bins_and_their_slope(case: Case, width: float):
    """One edge is open; the width says nothing, and its slope has to be a number."""
    near = torch.cat([torch.linspace(0, 20, 81), torch.tensor([1e-6, 1e-3, 8.999, 9.001, 40.0, 300.0, 1e4])])
    edge, far = torch.cat([-near, near]), torch.full((2 * len(near),), FAR)
    zero, w = torch.zeros_like(edge), torch.full_like(edge, width)
    expected = np.array([exact_end(case, mpmath.mpf(value)) for value in edge.tolist()])
    for sign, found in ((-1, case.law(edge, far, w, zero)), (1, case.law(-far, -edge, w, zero))):
        assert_near(found.log_mass, expected[:, 0], rtol=1e-6, atol=case.open_atol)
        # Relative, down to a density of e^-80, where exponentials are cut off.
        assert_near(found.by_position, sign * expected[:, 1], rtol=1e-5, atol=3e-35)
        assert found.by_width.isfinite().all()


def exact_end(case: Case, edge: mpmath.mpf) -> tuple[float, float]:
    """log P(U > edge), and the density over P(U > edge)."""
    tail = case.tail(abs(edge))
    mass = 1 - tail if edge < 0 else tail
    return float(mpmath.log1p(-tail) if edge < 0 else mpmath.log(tail)), float(case.density(edge) / mass)


@pytest.mark.parametrize("n", [1, 2, 16, 255])
def test_log_binomial_at_mode(n: int):
    k = np.arange(n + 1)
    assert_near(numerics.log_binomial_at_mode(n), stats.binom.logpmf(k, n, k / n), rtol=1e-6, atol=1e-12)


def test_stirling_half_and_its_slope():
    y = 1.5 + torch.cat([torch.zeros(1), torch.logspace(-5, 5, 300)])
    constant, half = mpmath.log(2 * mpmath.pi) / 2, mpmath.mpf("0.5")
    value, slope = numerics.stirling_half(y)
    expected = exact(lambda v: mpmath.loggamma(v + half) - v * (mpmath.log(v) - 1) - constant, y)
    # Fitted to 4e-7 where it was 3e-8: six of them make up a log-mass, which float32 rounds to about 1e-6.
    assert_near(value, expected, rtol=0, atol=4.5e-7)
    # It is multiplied by y - 3/2, and fitted so.
    weight = (y - 1.5).double().numpy()
    expected = weight * exact(lambda v: mpmath.digamma(v + half) - mpmath.log(v), y)
    assert_near((y - 1.5) * slope, expected, rtol=0, atol=4.5e-6)


def test_binet_and_its_slope():
    y = 3 + torch.cat([torch.zeros(1), torch.logspace(-5, 5, 300)])
    constant = mpmath.log(2 * mpmath.pi) / 2
    value, slope = numerics.binet(y)
    expected = exact(lambda v: mpmath.loggamma(v) - (v - 0.5) * mpmath.log(v) + v - constant, y)
    assert_near(value, expected, rtol=0, atol=4.5e-7)  # as above, where it was 2e-8
    expected = exact(lambda v: mpmath.digamma(v) - mpmath.log(v) + 1 / (2 * v), y)
    # Was 6e-7; it is multiplied by y - 3.
    assert_near(slope, expected, rtol=0, atol=2.2e-6)


def test_select_and_mirrored_are_exact():
    yes, no = torch.randn(100), torch.randn(100)
    condition = torch.rand(100) > 0.5
    assert torch.equal(numerics.select(condition, yes, no), torch.where(condition, yes, no))
    k, side = torch.arange(256.0), numerics.side_of(torch.randn(256))
    assert torch.equal(numerics.mirrored(k, 255, side), torch.where(side > 0, k, 255 - k))
    assert torch.equal(numerics.side_of(torch.tensor([-2.0, 0.0, 2.0])), torch.tensor([-1.0, 1.0, 1.0]))
