"""Annealed importance sampling: log p(x) bounded from below, and for data of the model from above, in nats.

Neal 2001 (arXiv:physics/9803008); for decoders Wu et al. 2017 (arXiv:1611.04273); from both ends,
bidirectional Monte Carlo, Grosse et al. 2015 (arXiv:1511.02543).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.hmc import LogJoint, Path, Point, hamiltonian_step
from vae_likelihoods.models.blocks import drawn, log_mass
from vae_likelihoods.models.vae import VAE, reparameterised, standard_normal
from vae_likelihoods.precision import precise

Schedule = Literal["sigmoid", "geometric", "linear"]
_FIRST_STEP = 0.5  # step size of the leapfrog integrator before it is adapted; the prior's scale is 1
_GAIN = 0.25  # change of the log step size for each unit by which the acceptance misses its target
_WIDTH = 4.0  # delta of the sigmoid schedule
_FIRST_BETA = 1e-4  # the first beta above 0 of the geometric schedule


class Chains(NamedTuple):
    """The results of S chains for each of B images."""

    log_weights: Tensor  # [S, B]  float64
    acceptance: Tensor  # [B]  mean over chains and temperatures


@dataclass(frozen=True)
class Annealing:
    """How chains move from an initial density to the posterior, or back.

    A pilot run with separate noise adapts the step sizes, one for each temperature and image, until the
    acceptance is reached; then they are fixed. If a chain adapted its own step size, its weights would no
    longer be an unbiased estimate of p(x), and the results would be no bounds.

    Args:
        chains: S, for each image.
        temperatures: T, the steps of beta from 0 to 1.
        schedule: how beta rises: ``sigmoid`` (slow at both ends; Grosse et al. 2015, section 5),
            ``geometric`` (by a constant factor from 1e-4) or ``linear``.
        leapfrog_steps: in every transition; there is one transition at each temperature.
        acceptance: the share of transitions that should be accepted.

    Raises:
        SettingError: a setting is out of range.
    """

    chains: int
    temperatures: int
    schedule: Schedule
    leapfrog_steps: int
    acceptance: float

    def __post_init__(self) -> None:
        for name in ("chains", "temperatures", "leapfrog_steps"):
            require_count(name, getattr(self, name))
        schedules = get_args(Schedule)
        require(self.schedule in schedules, "schedule", self.schedule, "no such schedule", schedules)
        share = "must lie between 0 and 1"
        require(0 < self.acceptance < 1, "acceptance", self.acceptance, share)

    def betas(self) -> list[float]:
        """Return beta_0 = 0 < ... < beta_T = 1.

        Example:
            >>> Annealing(1, 4, "linear", 1, 0.65).betas()
            [0.0, 0.25, 0.5, 0.75, 1.0]
        """
        shares = [index / self.temperatures for index in range(self.temperatures + 1)]
        if self.schedule == "linear":
            return shares
        if self.schedule == "geometric":
            return [0.0, *(_FIRST_BETA ** (1 - share) for share in shares[1:])]
        values = [1 / (1 + math.exp(-_WIDTH * (2 * share - 1))) for share in shares]
        return [(value - values[0]) / (values[-1] - values[0]) for value in values]

    def step_sizes(self, path: Path, noise: torch.Generator) -> Tensor:
        """Return the step size at each inner temperature for each image, [T - 1, B], from a pilot run."""
        betas, steps = self.betas(), []
        point = path.at(reparameterised(path.initial, noise, max(1, self.chains // 4)))
        log_step = torch.full_like(point.log_joint[0], math.log(_FIRST_STEP))
        for beta in betas[1:-1]:
            steps.append(log_step.exp())
            point, accepted = hamiltonian_step(path, beta, point, steps[-1], self.leapfrog_steps, noise)
            log_step = log_step + _GAIN * (accepted.mean(0) - self.acceptance)
        return torch.stack(steps) if steps else log_step.new_empty((0, len(log_step)))

    def up(self, path: Path, steps: Tensor, noise: torch.Generator) -> Chains:
        """Anneal draws of the initial density to the posterior; the mean weight is unbiased for p(x).

        So log mean w is in expectation a lower bound on log p(x), like IWAE_S, and rises with S and T. A
        single run may lie above log p(x), by the noise of its chains.
        """
        point = path.at(reparameterised(path.initial, noise, self.chains))
        return self._anneal(path, self.betas(), point, steps, noise)

    def down(self, path: Path, exact: Tensor, steps: Tensor, noise: torch.Generator) -> Chains:
        """Anneal an exact draw of the posterior, z [B, L], back; the mean weight is unbiased for 1 / p(x).

        So -log mean w is in expectation an upper bound on log p(x). A single run may lie below log p(x), and
        below the result of `up`.
        """
        point = path.at(exact.expand(self.chains, *exact.shape))
        return self._anneal(path, self.betas()[::-1], point, steps.flip(0), noise)

    def _anneal(
        self, path: Path, betas: list[float], point: Point, steps: Tensor, noise: torch.Generator
    ) -> Chains:
        """Add up the weights of all changes of beta, with a transition between any two of them."""
        log_weights, acceptances = torch.zeros_like(precise(point.log_joint)), []
        for index, (beta, next_beta) in enumerate(itertools.pairwise(betas)):
            log_ratio = precise(point.log_joint) - precise(path.log_initial(point.z))
            log_weights += (next_beta - beta) * log_ratio
            if index < len(steps):
                point, probability = hamiltonian_step(
                    path, next_beta, point, steps[index], self.leapfrog_steps, noise
                )
                acceptances.append(probability.mean(0))
        acceptance = torch.stack(acceptances) if acceptances else torch.ones_like(point.log_joint[:1])
        return Chains(log_weights, acceptance.mean(0))


def log_joint_of(model: VAE, levels: Tensor) -> LogJoint:
    """Return log p(x, z) as a function of z [S, B, L] for levels [B, C, H, W]: the mass over K levels.

    Raises:
        SettingError: the images are no levels of the model.
    """
    model.require_levels(levels)

    def log_joint(z: Tensor) -> Tensor:
        log_prior: Tensor = model.prior().log_prob(z).sum(-1)
        return log_prior + log_mass(model, z, levels)

    return log_joint


def prior_of(model: VAE, images: int) -> Normal:
    """Return the prior of z with mean and scale [B, L], from which every chain can start."""
    ones = next(model.parameters()).new_ones((images, model.latent_dim))
    return Normal(0 * ones, ones, validate_args=False)


def simulated(model: VAE, count: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw z [N, L] from the prior and levels [N, C, H, W] from p(x | z): z is then exact given x."""
    z = standard_normal((count, model.latent_dim), noise, model.dtype)
    return z, drawn(model, z, noise)
