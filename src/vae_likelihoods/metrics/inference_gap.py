"""Why the ELBO lies below log p(x): because of the family of q, or because of the encoder?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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
from vae_likelihoods.metrics.base import Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

_FAMILY = "the part of the inference gap that the best Gaussian of each image leaves"
_ENCODER = "the part of the inference gap that the best Gaussian of each image closes"


@dataclass(frozen=True)
class InferenceGap(Annealed):
    """log p(x) - ELBO = approximation gap + amortisation gap (Cremer et al. 2018, equations 6 and 7).

    The best Gaussian of each image is searched by Adam, and log p(x) is bounded from below by chains that
    start there. So the true inference gap and the true amortisation gap are at least these, in expectation.

    Args:
        samples: z of each estimate of an ELBO, with the same noise for the encoder's q and for the best q.
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
    def declarations(self, levels: int) -> list[Declaration]:
        lower = partial(Declaration, quantity=Quantity(NATS, "mass"), format=",.2f", better="lower")
        gaps = [
            lower("inference_gap_nats", "log p(x) minus the ELBO", header="inference gap"),
            lower("approximation_gap_nats", _FAMILY, header="approximation gap"),
            lower("amortisation_gap_nats", _ENCODER, header="amortisation gap"),
        ]
        return [each for gap in gaps for each in (gap, gap.standard_error())]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        images = data.test.images[: self.images]
        kept = len(images) == len(data.test.images)
        with frozen(model):
            parts = [self._of_batch(model, batch, noise) for batch in in_batches(images, self._at_once)]
        amortised, best, log_p = (numpy(list(of_batches)) for of_batches in zip(*parts, strict=True))
        return {
            **with_error("inference_gap_nats", log_p - amortised, kept),
            **with_error("approximation_gap_nats", log_p - best, kept),
            **with_error("amortisation_gap_nats", best - amortised, kept),
        }

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
