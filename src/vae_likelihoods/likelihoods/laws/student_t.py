"""Student's t with an even number of degrees of freedom: heavy tails, and a cdf that is a polynomial."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.laws.base import FAR, IntervalMass, Law
from vae_likelihoods.likelihoods.tensors import above, exp_


@dataclass(frozen=True)
class StudentT(Law):
    """p(u) proportional to (1 + u^2 / df)^(-(df + 1) / 2).

    With theta = u / sqrt(df + u^2) the law is proportional to (1 - theta^2)^n on [-1, 1], n = df/2 - 1.
    For an even df that is a polynomial, which Gauss-Legendre nodes integrate exactly, without gamma or
    beta functions. It is computed from psi = 1 - |theta| = df / (r (r + |u|)), r = sqrt(df + u^2), which
    keeps its digits in the tails.

    Args:
        df: degrees of freedom, even; 2 has no variance, 30 is nearly normal.

    Raises:
        SettingError: df is not even, or not within 2 .. 30.
    """

    df: int

    def __post_init__(self) -> None:
        choices = range(2, 31, 2)
        require(type(self.df) is int and self.df in choices, "df", self.df, "must be even", choices)

    @cached_property
    def n(self) -> int:
        """The exponent of the law of theta."""
        return self.df // 2 - 1

    @cached_property
    def log_constant(self) -> float:
        """log p(u) + (df + 1) log r."""
        return (
            math.lgamma(0.5 * (self.df + 1))
            - math.lgamma(0.5 * self.df)
            - 0.5 * math.log(math.pi)
            + 0.5 * self.df * math.log(self.df)
        )

    @cached_property
    def nodes(self) -> list[tuple[float, float]]:
        """Gauss-Legendre nodes on [0, 1] with their weights over the integral of (1 - theta^2)^n."""
        places, weights = np.polynomial.legendre.leggauss(self.n + 1)
        area = math.exp(math.lgamma(0.5) + math.lgamma(self.n + 1) - math.lgamma(self.n + 1.5))
        return [(float(0.5 * (1 + x)), float(0.5 * w / area)) for x, w in zip(places, weights, strict=True)]

    @override
    def log_density(self, u: Tensor) -> Tensor:
        return self.log_constant - (self.df + 1) * torch.sqrt(self.df + u.square()).log()

    @override
    def log_upper_tail(self, u: Tensor) -> Tensor:
        """Return it from scipy's incomplete beta function, the specification of the polynomial."""
        return _by_scipy(lambda x: special.stdtr(self.df, -x), u).log()

    @override
    def quantile(self, p: Tensor) -> Tensor:
        return _by_scipy(lambda x: special.stdtrit(self.df, x), p)

    @override
    def upper_tail(self, u: Tensor) -> Tensor:
        size = u.abs()
        tail = self._distance(self._radius(u), size)
        near = torch.lerp(tail, 2 - tail, above(-u, 0))
        return near * self._log_mean_law(near, torch.zeros_like(near)).exp()

    @override
    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a normal over the root of a mean of df squares of normals."""
        kind: dict[str, Any] = {"generator": generator, "device": like.device, "dtype": like.dtype}
        normal = torch.randn(like.shape, **kind)
        squares = torch.randn((self.df, *like.shape), **kind).square().sum(0)
        return normal * torch.sqrt(self.df / squares)

    @override
    def log_interval(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> IntervalMass:
        """Return log(theta(b) - theta(a)) plus the log of the mean of the law of theta between them."""
        negative = -lower
        a, b = torch.minimum(upper, negative).neg_(), torch.maximum(upper, negative)
        ra, rb, size = self._radius(a), self._radius(b), a.abs()
        # theta(b) - theta(a) = (b ra - a rb) / (ra rb), a difference only where both have one sign.
        total, centre = b.mul(ra).add_(size.mul(rb)), (a + b).mul_(0.5)
        around = above(-a, 0)
        apart = torch.lerp(torch.full_like(width, FAR), width, inner)
        step = torch.lerp((apart / total).mul_(2 * self.df).mul_(centre), total, around)
        ra_log, rb_log = ra.log(), rb.log()
        near = self._distance(ra, size)
        near = torch.lerp(near, 2 - near, around)
        log_mass = step.log_().sub_(ra_log).sub_(rb_log).add_(self._log_mean_law(near, self._distance(rb, b)))
        at_a, at_b = (self._density_over_mass(r_log, log_mass) for r_log in (ra_log, rb_log))
        # at_b - at_a without a difference: rb^2 - ra^2 = 2 (b - a) centre.
        log_ratio = (apart * centre).mul_(2).div_(ra.square()).log1p_().mul_(-0.5 * (self.df + 1))
        slope = at_a * log_ratio.expm1_()
        by_width = at_a.add_(at_b).mul_(0.5)
        return IntervalMass(log_mass, slope.mul_((upper + lower).sign_()), by_width)

    def _log_mean_law(self, near: Tensor, far: Tensor) -> Tensor:
        """Return the log of the mean of the law of theta between psi = far and psi = near > far."""
        if self.n == 0:
            return torch.full_like(near, math.log(0.5))
        if self.n == 1:  # df = 4, the usual choice: 3/4 of the mean of psi (2 - psi), written out
            both = near + far
            return both.square().sub_(near * far).mul_(-0.25).add_(both, alpha=0.75).log_()
        total, ratio = torch.zeros_like(near), far / near
        for place, weight in self.nodes:
            part = ratio.mul(1 - place).add_(place)  # psi / near
            total.add_(part.mul(near).neg_().add_(2).mul_(part).pow_(self.n), alpha=weight)
        return total.log_().add_(near.log(), alpha=self.n)

    def _density_over_mass(self, log_radius: Tensor, log_mass: Tensor) -> Tensor:
        return exp_(log_radius.mul(-(self.df + 1)).sub_(log_mass).add_(self.log_constant))

    def _distance(self, radius: Tensor, size: Tensor) -> Tensor:
        """Return psi = 1 - |theta|."""
        return radius.add(size).mul_(radius).reciprocal_().mul_(self.df)

    def _radius(self, u: Tensor) -> Tensor:
        return u.square().add_(self.df).sqrt_()


def _by_scipy(function: Callable[[np.ndarray], np.ndarray], x: Tensor) -> Tensor:
    return torch.as_tensor(function(x.detach().cpu().numpy()), dtype=x.dtype, device=x.device)
