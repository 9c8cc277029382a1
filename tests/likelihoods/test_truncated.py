"""The truncated family: the fast form of the normal law against the plain one, and other laws."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from mpmath import mpf
from scipy import stats
from torch import Tensor

from vae_likelihoods.likelihoods.laws.base import Law
from vae_likelihoods.likelihoods.laws.laplace import Laplace
from vae_likelihoods.likelihoods.laws.logistic import Logistic
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.laws.student_t import StudentT
from vae_likelihoods.likelihoods.normal_share import NormalLogShare
from vae_likelihoods.likelihoods.pointwise import Values
from vae_likelihoods.likelihoods.scales import PixelScale
from vae_likelihoods.likelihoods.share import LogShare
from vae_likelihoods.likelihoods.truncated import Truncated
from vae_likelihoods.seeding import generator

SCIPYS = {
    Laplace(): stats.laplace,
    Logistic(): stats.logistic,
    Normal(): stats.norm,
    StudentT(4): stats.t(4),
}


def shares(kind: type[LogShare], bins: float, means: Tensor, length: float, levels: int) -> Values:
    """The log-share of every level for every mean, and its derivatives, with scales around so many bins."""
    scale = PixelScale(bins / levels, bins / 4, levels)
    start = (torch.arange(levels) if length == 1 else torch.zeros(1)).view(-1, 1, 1, 1, 1)
    means = means.view(-1, 1, 1, 1).expand(len(start), -1, 1, 1, 1)
    raw = torch.linspace(-0.5, 0.5, means.shape[1]).view(-1, 1, 1, 1).expand_as(means)
    return kind(Normal(), scale, levels, length)(True, [means, raw], None, start.expand_as(means))


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("length", [1.0, 0.7])
@pytest.mark.parametrize("bins", [0.1, 1.0, 30.0, 1000.0])
def test_the_fast_share_of_a_normal_is_the_plain_one(levels: int, length: float, bins: float):
    """Means inside, at the ends and outside, as far as float64 has digits for the difference of the logs."""
    far = torch.tensor([-20.0, -3.0, 4.0, 30.0, 34.0, 38.0, 42.0, 46.0, 50.0])
    means = torch.cat([torch.linspace(-0.5, 1.5, 41), far])
    fast, plain = (shares(kind, bins, means, length, levels) for kind in (NormalLogShare, LogShare))
    torch.testing.assert_close(fast.value, plain.value, rtol=1e-5, atol=1e-5)
    for slope, specified in zip(fast.slopes, plain.slopes, strict=True):
        atol = 3e-7 + 1e-4 * specified.abs().max().item()
        torch.testing.assert_close(slope, specified, rtol=2e-4, atol=atol)


@pytest.mark.parametrize("mean", [-0.02, -1.0, -3.0, -100.0, -1000.0, 1.02, 4.0])
@pytest.mark.parametrize("raw", [-8.0, -4.0, 0.0])
def test_slopes_far_outside_are_those_of_fifty_digits(mean: float, raw: float):
    """In float32, for a scale of each pixel: both masses are tiny, and so is the slope of their ratio."""
    likelihood = Truncated(256, 1, Normal(), scale=0.3, min_scale=0.25, per_pixel=True)
    for k in (0, 1, 100, 254, 255):
        outputs = torch.tensor([mean, raw]).view(1, 2, 1, 1).requires_grad_()
        (found,) = torch.autograd.grad(
            likelihood.log_mass(outputs, torch.tensor(k).view(1, 1, 1, 1)), outputs
        )
        scale, by_raw = (part.item() for part in likelihood.scale.with_slope([torch.tensor(raw)]))
        place = outputs[0, 0].item()

        def log_share(mu: mpf, sigma: mpf, k: int = k) -> mpf:
            below, above, low, high = ((edge - mu) / sigma for edge in (mpf(k) / 256, mpf(k + 1) / 256, 0, 1))
            return mpmath.log(mass(below, above) / mass(low, high))

        with mpmath.workdps(50):
            exact = [
                float(mpmath.diff(log_share, (mpf(place), mpf(scale)), order, h=mpf("1e-20") * scale))
                for order in ((1, 0), (0, 1))
            ]
        expected = torch.tensor([exact[0], exact[1] * by_raw])
        torch.testing.assert_close(found.flatten(), expected, rtol=1e-3, atol=2e-3)


def mass(lower: mpf, upper: mpf) -> mpf:
    """The mass of an interval of the standard normal, from the side on which it has digits."""
    lower, upper = (lower, upper) if lower > 0 else (-upper, -lower)
    return (mpmath.erfc(lower / mpmath.sqrt(2)) - mpmath.erfc(upper / mpmath.sqrt(2))) / 2


@pytest.mark.parametrize("law", SCIPYS, ids=str)
def test_it_is_a_difference_of_cdfs_over_the_mass_of_the_range(law: Law):
    likelihood = Truncated(17, 1, law, scale=0.2, min_scale=0.1)
    means = torch.linspace(-0.4, 1.4, 13)
    edges = torch.arange(18, dtype=torch.float64).numpy() / 17
    for mean in means:
        reference = SCIPYS[law]
        cdf = reference.cdf((edges - mean.item()) / 0.2)
        expected = torch.tensor((cdf[1:] - cdf[:-1]) / (cdf[-1] - cdf[0])).log()
        k = torch.arange(17).view(-1, 1, 1, 1)
        log_mass = likelihood.log_mass(mean.expand(17, 1, 1, 1), k).detach()
        torch.testing.assert_close(log_mass.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("law", [Laplace(), Logistic()], ids=str)
def test_far_outside_an_exponential_tail_is_an_exponential_slope(law: Law):
    """log P(k) falls by the width of a bin over the scale from level to level, however far the mean is."""
    likelihood = Truncated(16, 1, law, scale=0.1, min_scale=0.1)
    k = torch.arange(16).view(-1, 1, 1, 1)
    for mean in (-20.0, -900.0):
        log_mass = likelihood.log_mass(torch.full((16, 1, 1, 1), mean), k).detach()
        torch.testing.assert_close(log_mass.diff(), torch.full((15,), -1 / 1.6), rtol=1e-5, atol=1e-5)
        assert log_mass.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_scale_is_learned_through_a_truncation():
    """Draws of a truncated Laplace: the scale that fits them best is their own."""
    planted = Truncated(64, 1, Laplace(), scale=0.15, min_scale=0.1)
    mean = torch.full((2000, 1, 1, 1), 0.3)
    k = planted.sample(mean, generator(0, "draws"))
    likelihood = Truncated(64, 1, Laplace(), scale=0.6, min_scale=0.1)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (-likelihood.log_mass(mean, k).mean()).backward()
        optimizer.step()
    assert math.isclose(likelihood.summary()["scale"], 0.15, rel_tol=0.1)
