"""Every law against scipy and against 50 digits; its fast forms against `Law.log_interval`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from digits import assert_near, exact
from secant import HyperbolicSecant
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.laws import normal_interval
from vae_likelihoods.likelihoods.laws.base import FAR, Law
from vae_likelihoods.likelihoods.laws.laplace import Laplace
from vae_likelihoods.likelihoods.laws.logistic import Logistic, softplus
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.laws.student_t import StudentT
from vae_likelihoods.seeding import generator


class Case(NamedTuple):
    """A law, the same in scipy and in 50 digits, and the errors that its forms may have."""

    law: Law
    scipy: Any
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

    # In an end bin two logs of 1e15 are subtracted, whose last digit is 4e-6.
    return Case(StudentT(df), stats.t(df), tail, density, 3e-6, 5e-6)


def _logistic_density(u: mpmath.mpf) -> mpmath.mpf:
    return mpmath.exp(-abs(u)) / (1 + mpmath.exp(-abs(u))) ** 2


FAST = {
    "normal": Case(Normal(), stats.norm, lambda u: mpmath.erfc(u / mpmath.sqrt(2)) / 2, mpmath.npdf),
    "laplace": Case(
        Laplace(),
        stats.laplace,
        lambda u: mpmath.exp(-u) / 2,
        lambda u: mpmath.exp(-abs(u)) / 2,
        cancels=lambda c, w: c < w / 2,  # around the mode; beside it the slope is 1
        cancelled=2e-7,
        far=6e-8,
    ),
    "logistic": Case(Logistic(), stats.logistic, lambda u: 1 / (1 + mpmath.exp(u)), _logistic_density),
    **{f"student_t with df={df}": _student(df) for df in (2, 4, 10)},
}
LAWS = {
    **FAST,
    "secant": Case(
        HyperbolicSecant(),
        stats.hypsecant,
        lambda u: 2 / mpmath.pi * mpmath.atan(mpmath.exp(-u)),
        lambda u: mpmath.sech(u) / mpmath.pi,
        cancels=lambda c, w: True,  # the generic form subtracts densities, in float64
        cancelled=1e-11,
    ),
}
every_law = pytest.mark.parametrize("case", LAWS.values(), ids=LAWS.keys())
every_fast_law = pytest.mark.parametrize("case", FAST.values(), ids=FAST.keys())


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def test_softplus():
    x = torch.cat([-torch.logspace(-6, 3, 100), torch.zeros(1), torch.logspace(-6, 3, 100)])
    assert_near(softplus(x), np.logaddexp(0, x.double().numpy()), rtol=1e-7, atol=1e-7)


# --- A law at single points


@every_law
def test_density_tail_and_quantile_are_those_of_scipy(case: Case):
    u = torch.cat([-torch.logspace(-6, 2, 60), torch.zeros(1), torch.logspace(-6, 2, 60)]).double()
    at, law, reference = u.numpy(), case.law, case.scipy
    assert_near(law.log_density(u), reference.logpdf(at), rtol=1e-7, atol=1e-12)
    assert_near(law.log_upper_tail(u), reference.logsf(at), rtol=1e-7, atol=1e-12)
    assert_near(law.upper_tail(u), reference.sf(at), rtol=1e-5, atol=1e-14)
    p = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
    assert_near(law.quantile(p), reference.ppf(p.numpy()), rtol=1e-6, atol=1e-7)


@every_law
def test_the_log_of_the_tail_keeps_its_digits_far_out(case: Case):
    u = torch.logspace(0, 4, 60).double()
    assert_near(case.law.log_upper_tail(u), exact(lambda v: mpmath.log(case.tail(v)), u), rtol=1e-9)


@every_law
def test_a_law_is_symmetric_and_finite_as_far_as_numbers_go(case: Case):
    u = torch.cat([torch.zeros(1), torch.logspace(-20, 15, 200)]).clamp_max(FAR)
    assert case.law.log_density(u).isfinite().all()
    torch.testing.assert_close(case.law.log_density(-u), case.law.log_density(u), rtol=0, atol=0)
    assert ((case.law.upper_tail(u) >= 0) & (case.law.upper_tail(u) <= 0.5 + 1e-6)).all()
    torch.testing.assert_close(case.law.upper_tail(u) + case.law.upper_tail(-u), torch.ones_like(u))


@every_law
def test_draws_follow_the_law(case: Case):
    like = torch.empty(20, 1000)
    u = case.law.draw(like, generator(0, "draws"))
    assert u.shape == like.shape
    assert u.dtype == like.dtype
    assert stats.kstest(u.flatten().numpy(), case.scipy.cdf).pvalue > 1e-3
    assert case.law.draw(like, generator(0, "draws")).equal(u)


@pytest.mark.parametrize("df", [1, 3, 0, -2, 32, 4.0, True, None])
def test_impossible_degrees_of_freedom_are_refused_with_the_choices(df: object):
    with pytest.raises(SettingError, match=rf"^df={df}: .*Choices: 2, 4, 6,.*28, 30\.$"):
        StudentT(df)


# --- A law on intervals

SWITCHES = [limit * side for limit in (0.02, normal_interval._NARROW) for side in (0.999, 1.001)]
WIDTHS = (1e-8, 1e-4, 1e-3, 0.1, 0.7, 3.0, 10.0, 100.0, 1e4, *SWITCHES)
CENTRES = (0.0, 1e-6, 1e-3, 0.01, 0.3, 1.0, 2.2, 5.0, 9.0, 15.0, 40.0, 300.0, 1e4)


def centres_around(width: float) -> list[float]:
    """Also where one form gives way to another, on both sides: an edge at the mode or TAIL, c w = _FLAT."""
    switches = [width / 2, width / 2 + normal_interval.TAIL, normal_interval._FLAT / width]
    return sorted({*CENTRES, *(c * side for c in switches for side in (0.999, 1.001) if c < 1e5)})


def exact_slopes(case: Case, c: mpmath.mpf, w: mpmath.mpf) -> tuple[float, float, float]:
    """The log-mass of c - w/2 .. c + w/2 for c >= 0, and its derivatives by c and by w."""
    a, b = c - w / 2, c + w / 2
    mass = (case.tail(a) if a >= 0 else 1 - case.tail(-a)) - case.tail(b)
    at_a, at_b = case.density(a) / mass, case.density(b) / mass
    return float(mpmath.log(mass)), float(at_b - at_a), float((at_a + at_b) / 2)


def edges(c: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    lower, upper = ((c.double() + side * w.double() / 2).float() for side in (-1, 1))
    return lower, upper


@every_law
@pytest.mark.parametrize("width", WIDTHS)
def test_intervals_and_their_slopes(case: Case, width: float):
    """Narrow, wide, around the mode, beside it and far."""
    c, w = torch.tensor(centres_around(width)), torch.tensor(width)
    lower, upper = edges(c, w)
    interval = case.law.log_interval(lower, upper, w.expand_as(c), torch.ones_like(c))
    expected = np.array([exact_slopes(case, mpmath.mpf(v), mpmath.mpf(w.item())) for v in c.tolist()])
    assert_near(interval.log_mass, expected[:, 0], rtol=1e-6, atol=case.atol)
    noise = np.array([case.cancels(v, w.item()) for v in c.tolist()]) * case.cancelled * expected[:, 2]
    assert_near(interval.by_position, expected[:, 1], rtol=1e-5, atol=1e-6 + noise)
    assert_near(interval.by_width, expected[:, 2], rtol=1e-5 + case.far * c.numpy(), atol=1e-10)
    mirrored = case.law.log_interval(-upper, -lower, w.expand_as(c), torch.ones_like(c))
    assert_near(mirrored.log_mass, interval.log_mass.double().numpy(), rtol=3e-7, atol=1e-7)
    assert_near(-mirrored.by_position, interval.by_position.double().numpy(), rtol=3e-7, atol=1e-7)


@every_law
@pytest.mark.parametrize("width", [1e-8, 1e-2, 1.0, 1e4])
def test_open_intervals_and_their_slope(case: Case, width: float):
    """One edge is open; the width has no meaning, and its slope must be a number."""
    near = torch.cat([torch.linspace(0, 20, 81), torch.tensor([1e-6, 1e-3, 8.999, 9.001, 40.0, 300.0, 1e4])])
    edge, far = torch.cat([-near, near]), torch.full((2 * len(near),), FAR)
    zero, w = torch.zeros_like(edge), torch.full_like(edge, width)
    expected = np.array([exact_end(case, mpmath.mpf(value)) for value in edge.tolist()])
    above, below = case.law.log_interval(edge, far, w, zero), case.law.log_interval(-far, -edge, w, zero)
    for sign, interval in ((-1, above), (1, below)):
        assert_near(interval.log_mass, expected[:, 0], rtol=1e-6, atol=case.open_atol)
        # Relative, down to a density of e^-80, where exponentials are cut off.
        assert_near(interval.by_position, sign * expected[:, 1], rtol=1e-5, atol=3e-35)
        assert interval.by_width.isfinite().all()


def exact_end(case: Case, edge: mpmath.mpf) -> tuple[float, float]:
    """log P(U > edge), and the density over P(U > edge)."""
    tail = case.tail(abs(edge))
    mass = 1 - tail if edge < 0 else tail
    return float(mpmath.log1p(-tail) if edge < 0 else mpmath.log(tail)), float(case.density(edge) / mass)


@every_fast_law
@pytest.mark.parametrize("width", [1e-4, 1e-3, 0.1, 0.7, 3.0, 10.0, 100.0])
def test_a_fast_interval_is_the_one_from_tails_and_densities(case: Case, width: float):
    """The specification, `Law.log_interval`, at many places on both sides of the mode, value and slopes."""
    c, w = torch.linspace(-60, 60, 2401), torch.tensor(width)
    lower, upper = edges(c, w)
    arguments = (lower, upper, w.expand_as(c), torch.ones_like(c))
    fast, plain = case.law.log_interval(*arguments), Law.log_interval(case.law, *arguments)
    torch.testing.assert_close(fast.log_mass, plain.log_mass, rtol=2e-6, atol=2 * case.atol)
    # Around the mode the Laplace law subtracts two densities in float32.
    noise = 4e-7 * plain.by_width.max().item() * (case.cancelled > 0)
    torch.testing.assert_close(fast.by_position, plain.by_position, rtol=2e-5, atol=2e-6 + noise)
    torch.testing.assert_close(fast.by_width, plain.by_width, rtol=2e-5, atol=1e-10)


@every_fast_law
def test_a_fast_open_interval_is_the_one_from_the_tail(case: Case):
    edge = torch.linspace(-60, 60, 2401)
    arguments = (edge, torch.full_like(edge, FAR), torch.ones_like(edge), torch.zeros_like(edge))
    fast, plain = case.law.log_interval(*arguments), Law.log_interval(case.law, *arguments)
    torch.testing.assert_close(fast.log_mass, plain.log_mass, rtol=2e-6, atol=2 * case.open_atol)
    torch.testing.assert_close(fast.by_position, plain.by_position, rtol=2e-5, atol=1e-34)


@every_law
def test_arguments_of_an_interval_are_not_overwritten(case: Case):
    c, w = torch.linspace(-3, 3, 7), torch.full((7,), 0.5)
    arguments = [*edges(c, w), w, torch.ones(7)]
    before = [argument.clone() for argument in arguments]
    interval = case.law.log_interval(*arguments)
    for result in interval:
        result.mul_(0)
    assert all(torch.equal(*pair) for pair in zip(arguments, before, strict=True))
