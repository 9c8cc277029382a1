"""Hamiltonian Monte Carlo on a path of densities, from one that is easy to draw from to a joint density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.models.vae import standard_normal

LogJoint = Callable[[Tensor], Tensor]
"""Latents z [S, B, L] -> log p(x, z), [S, B]: S chains for each of B images; differentiable by z."""


class Point(NamedTuple):
    """The positions of chains, with the log-density and its gradient there."""

    z: Tensor  # [S, B, L]
    log_joint: Tensor  # [S, B]  log p(x, z)
    gradient: Tensor  # [S, B, L]  of log_joint by z

    def chosen(self, other: Point, chains: Tensor) -> Point:
        """Return `other` for these chains [S, B], and this point for the rest."""
        latents = chains.unsqueeze(-1)
        return Point(
            torch.where(latents, other.z, self.z),
            torch.where(chains, other.log_joint, self.log_joint),
            torch.where(latents, other.gradient, self.gradient),
        )


@dataclass(frozen=True)
class Path:
    """log f_beta(z) = (1 - beta) log initial(z) + beta log p(x, z), beta from 0 to 1: Neal 2001, equation 3.

    Args:
        initial: a normalised density of z, its mean and scale [B, L].
        log_joint: the log of p(x, z), whose integral over z is to be estimated.
    """

    initial: Normal
    log_joint: LogJoint

    def at(self, z: Tensor) -> Point:
        """Evaluate the joint density and its gradient at z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.log_joint(z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return Point(z.detach(), value.detach(), gradient)

    def log_initial(self, z: Tensor) -> Tensor:
        """Return log initial(z), [S, B]."""
        log_density: Tensor = self.initial.log_prob(z).sum(-1)
        return log_density

    def log_density(self, beta: float, point: Point) -> Tensor:
        """Return log f_beta, [S, B]."""
        return (1 - beta) * self.log_initial(point.z) + beta * point.log_joint

    def slope(self, beta: float, point: Point) -> Tensor:
        """Return the gradient of log f_beta by z, [S, B, L]."""
        initial_gradient = (self.initial.mean - point.z) / self.initial.variance
        return (1 - beta) * initial_gradient + beta * point.gradient


def hamiltonian_step(
    path: Path, beta: float, point: Point, step_size: Tensor, leapfrog_steps: int, noise: torch.Generator
) -> tuple[Point, Tensor]:
    """Move chains by a transition that leaves f_beta invariant and is reversible (Neal 2011, section 3).

    Args:
        path: the densities.
        beta: which of them.
        point: where the chains are.
        step_size: of the leapfrog integrator, [B], the same for all chains of an image.
        leapfrog_steps: how many steps.
        noise: the source of momenta and of the decisions whether to move.

    Returns:
        The new positions of the chains, and the probability [S, B] with which each moved.
    """
    momentum = standard_normal(tuple(point.z.shape), noise, point.z.dtype)
    step = step_size.unsqueeze(-1)  # [B, 1]
    proposal, p = point, momentum + 0.5 * step * path.slope(beta, point)
    for index in range(leapfrog_steps):
        proposal = path.at(proposal.z + step * p)
        kick = step if index < leapfrog_steps - 1 else 0.5 * step
        p = p + kick * path.slope(beta, proposal)
    kinetic = 0.5 * (momentum.square() - p.square()).sum(-1)
    gain = path.log_density(beta, proposal) - path.log_density(beta, point) + kinetic  # [S, B]
    probability = gain.nan_to_num(nan=-torch.inf).clamp_max(0).exp()  # a trajectory that diverged is rejected
    uniform = torch.rand(gain.shape, generator=noise, device=noise.device)
    return point.chosen(proposal, uniform < probability), probability
