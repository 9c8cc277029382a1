"""What a standard law says of its variable u, and what follows from that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.numerics import log1mexp
from vae_likelihoods.likelihoods.tensors import side_of, uniform_like
from vae_likelihoods.precision import precise

FAR = 1e15  # no |u| is larger; its square is still a number in float32
_LOG_FAR = 34.5

# The difference of two edges has lost digits where the interval is narrower than this, or than its distance
# from 0; there the edges are computed again from its centre and its width.
_NARROW = 0.2
# Where the log-tail falls by less than this over an interval, the difference of the tails has lost digits;
# there the mass is density times width.
_FLAT = 1e-5


class IntervalMass(NamedTuple):
    """The log-mass of intervals of u, with its derivatives."""

    log_mass: Tensor
    by_position: Tensor  # by a shift of both edges
    by_width: Tensor  # by a wider interval around the same centre; meaningless if an edge is open


class Law(ABC):
    """A distribution of u on the line that is symmetric about 0 and has no parameter of place or scale.

    A law must say its log-density, the log of its tail and its quantiles. The mass of an interval and draws
    follow. A law that is used a lot replaces them by faster forms; `Law.log_interval` is then the
    specification of its `log_interval`. There is no mean: by symmetry it is 0 wherever it exists.

    All functions work element by element on float32 or float64 with |u| <= `FAR`, and return numbers there.
    A law has no learned parameters.
    """

    @abstractmethod
    def log_density(self, u: Tensor) -> Tensor:
        """Return log p(u); differentiable."""

    @abstractmethod
    def log_upper_tail(self, u: Tensor) -> Tensor:
        """Return log P(U > u), in a form that keeps its digits for large u."""

    @abstractmethod
    def quantile(self, p: Tensor) -> Tensor:
        """Return the u with P(U <= u) = p, for 0 < p < 1; -inf is allowed for p = 0."""

    def upper_tail(self, u: Tensor) -> Tensor:
        """Return P(U > u)."""
        return self.log_upper_tail(u).exp()

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw u in the shape and on the device of `like`."""
        return self.quantile(uniform_like(like, generator))

    def log_interval(self, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> IntervalMass:
        """Return log P(lower < U < upper) with its derivatives: the log of a difference of tails, in float64.

        Args:
            lower: edges; intervals that touch share theirs to the last bit.
            upper: edges.
            width: upper - lower with all its digits, which the difference of the edges may have lost.
            inner: 1; or 0 for an interval that is open on one side, whose outer edge is then -FAR or FAR.

        Returns:
            Tensors of their own: the caller may overwrite them. No argument is overwritten.
        """
        inner, width = precise(inner), precise(width)
        interval = _Reflected.of(precise(lower), precise(upper), width, inner)
        near, far = self.log_upper_tail(interval.a), self.log_upper_tail(interval.b)
        fall = near - far
        flat = (inner > 0) & (fall < _FLAT * (1e-4 * near.abs()).clamp_min(1))
        log_mass = torch.where(
            flat,
            self.log_density(interval.centre) + width.log(),
            near + inner * log1mexp(fall.clamp_min(1e-300)),
        )
        at_a = _ratio(self.log_density(interval.a), log_mass)
        at_b = _ratio(self.log_density(interval.b), log_mass) * inner
        slopes = interval.side * (at_b - at_a), 0.5 * (at_a + at_b)
        return IntervalMass(*(part.to(lower) for part in (log_mass, *slopes)))


class _Reflected(NamedTuple):
    """An interval [a, b], reflected so that its centre is not negative."""

    a: Tensor
    b: Tensor
    centre: Tensor
    side: Tensor  # the sign of the centre before it was reflected

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor, width: Tensor, inner: Tensor) -> _Reflected:
        centre = 0.5 * (lower + upper)
        side, half = side_of(centre), 0.5 * width
        narrow = (inner > 0) & (width < centre.abs().clamp_min(_NARROW))
        lower = torch.where(narrow, centre - half, lower)
        upper = torch.where(narrow, centre + half, upper)
        a, b = torch.where(side < 0, -upper, lower), torch.where(side < 0, -lower, upper)
        return cls(a, b, centre.abs(), side)


def _ratio(log_density: Tensor, log_mass: Tensor) -> Tensor:
    """Return density over mass, at most `FAR`."""
    return (log_density - log_mass).clamp(-80, _LOG_FAR).exp()
