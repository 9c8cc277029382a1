"""Why the ELBO falls short of log p(x): the family of q, or the encoder?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.ais import log_joint_of
from vae_likelihoods.inference.bounds import importance_weighted, importance_weighted_bound
from vae_likelihoods.inference.freezing import frozen
from vae_likelihoods.inference.hmc import Path
from vae_likelihoods.inference.posteriors import optimised
from vae_likelihoods.metrics.annealed import Annealed
from vae_likelihoods.metrics.base import Measured, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import NATS, Quantity


@dataclass(frozen=True)
class InferenceGap(Annealed):
    """log p(x) - ELBO = approximation gap + amortisation gap (Cremer et al. 2018, equations 6 and 7).

    The best Gaussian of each image is found by Adam. log p(x) is the bound of chains that start there,
    so the inference and the approximation gap are at least what is said, in expectation.

    Args:
        samples: z of each estimate of an ELBO, the same noise for the encoder's q and for the best one.
        steps: of Adam for each image, from the encoder's q.
        learning_rate: of Adam.
        draws: z in each step, for each image.
    """

    samples: int
    steps: int
    learning_rate: float
    draws: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "steps", "draws"):
            require_count(name, getattr(self, name))
        rate = self.learning_rate
        require(rate > 0, "learning_rate", rate, "must be positive")

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        images = data.test.images[: self.images]
        kept = len(images) == len(data.test.images)
        with frozen(model):
            found = [self._of_batch(model, batch, noise) for batch in in_batches(images, self._at_once)]
        amortised, best, log_p = (numpy(list(parts)) for parts in zip(*found, strict=True))
        gap = Quantity(NATS, "mass")
        return Measured(
            {
                **with_error("inference_gap_nats", log_p - amortised, gap, "lower", kept),
                **with_error("approximation_gap_nats", log_p - best, gap, "lower", kept),
                **with_error("amortisation_gap_nats", best - amortised, gap, "lower", kept),
            }
        )

    @property
    def _at_once(self) -> int:
        return max(1, self.decoded_at_once // max(self.chains, self.draws))

    def _of_batch(self, model: VAE, levels: Tensor, noise: torch.Generator) -> tuple[Tensor, ...]:
        """Return the ELBO of the encoder, that of the best Gaussian, and log p(x) from below, each [B]."""
        posterior = model.posterior(levels)
        best = optimised(model, levels, posterior, self.steps, self.learning_rate, self.draws, noise)
        path = Path(best, log_joint_of(model, levels))
        steps = self.annealing.step_sizes(path, noise)
        log_p = importance_weighted_bound(self.annealing.up(path, steps, noise).log_weights)
        seed = int(torch.randint(2**62, (), generator=noise, device=noise.device))
        elbos = [
            self._elbo(model, levels, q, torch.Generator(noise.device).manual_seed(seed))
            for q in (posterior, best)
        ]
        return (*elbos, log_p)

    def _elbo(self, model: VAE, levels: Tensor, q: Normal, noise: torch.Generator) -> Tensor:
        return importance_weighted(model, levels, q, [self.samples], noise, self.decoded_at_once).elbo
