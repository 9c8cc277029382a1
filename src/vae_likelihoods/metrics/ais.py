"""log p(x) by annealing: tighter than the importance-weighted bound, and certified on data of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.ais import log_joint_of, prior_of, simulated
from vae_likelihoods.inference.bounds import (
    effective_sample_size,
    importance_weighted,
    importance_weighted_bound,
)
from vae_likelihoods.inference.freezing import frozen
from vae_likelihoods.inference.hmc import Path
from vae_likelihoods.metrics.annealed import Annealed
from vae_likelihoods.metrics.base import Measured, Number, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import NATS, Quantity

Start = Literal["prior", "posterior"]
SIMULATED = Quantity("nats per image drawn from the model", "mass")


@dataclass(frozen=True)
class AIS(Annealed):
    """Annealed importance sampling with Hamiltonian Monte Carlo, on test images and on simulated ones.

    On test images it bounds -log p(x) from above, beside the importance-weighted bound of the same images.
    For as many images that are drawn from the model an exact z is known, so chains can start at either end,
    and -log p(x) lies between the two: if that interval is narrow, the chains are long enough for this
    decoder.

    Args:
        start: ``prior``, which asks nothing of the encoder, or ``posterior``, the encoder's q(z | x), which
            is nearer where the encoder is good.
        samples: k of the importance-weighted bound beside it.
    """

    start: Start
    samples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        starts = get_args(Start)
        require(self.start in starts, "start", self.start, "chains cannot start there", starts)
        require_count("samples", self.samples)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        images = data.test.images[: self.images]
        with frozen(model):
            found = self._of_images(model, images, noise, kept=len(images) == len(data.test.images))
            return Measured(found | self._of_simulated(model, noise))

    def _of_images(self, model: VAE, levels: Tensor, noise: torch.Generator, kept: bool) -> dict[str, Number]:
        """Return the bound on test images, and how far the importance-weighted one is from it."""
        nll, gaps, sizes, rates = [], [], [], []
        for batch in in_batches(levels, self.batch_size):
            posterior = model.posterior(batch)
            path = self._path(model, batch)
            steps = self.annealing.step_sizes(path, noise)
            chains = self.annealing.up(path, steps, noise)
            bound = importance_weighted_bound(chains.log_weights)
            other = importance_weighted(model, batch, posterior, [self.samples], noise, self.decoded_at_once)
            nll.append(-bound)
            gaps.append(bound - other.log_mean_weight[0])
            sizes.append(effective_sample_size(chains.log_weights))
            rates.append(chains.acceptance)
        moved, chains_of = Quantity("share of transitions that moved"), Quantity("chains per image")
        return {
            **with_error("nll_ais_nats", numpy(nll), Quantity(NATS, "mass"), "lower", kept),
            **with_error("iwae_gap_nats", numpy(gaps), Quantity(NATS, "mass", self.samples), "lower", kept),
            "ais_effective_chains": Number(float(numpy(sizes).mean()), chains_of),
            "ais_acceptance": Number(float(numpy(rates).mean()), moved),
        }

    def _of_simulated(self, model: VAE, noise: torch.Generator) -> dict[str, Number]:
        """Return both ends of the interval on data of the model, and its width."""
        upper, lower = [], []
        latents, levels = simulated(model, self.images, noise)
        for z, batch in zip(latents.split(self.batch_size), in_batches(levels, self.batch_size), strict=True):
            path = self._path(model, batch)
            steps = self.annealing.step_sizes(path, noise)
            upper.append(-importance_weighted_bound(self.annealing.up(path, steps, noise).log_weights))
            lower.append(importance_weighted_bound(self.annealing.down(path, z, steps, noise).log_weights))
        width = numpy(upper) - numpy(lower)
        return {
            **with_error("simulated_nll_upper_nats", numpy(upper), SIMULATED, kept=False),
            **with_error("simulated_nll_lower_nats", numpy(lower), SIMULATED, kept=False),
            **with_error("simulated_gap_nats", width, SIMULATED, "lower", kept=False),
        }

    def _path(self, model: VAE, levels: Tensor) -> Path:
        initial = model.posterior(levels) if self.start == "posterior" else prior_of(model, len(levels))
        return Path(initial, log_joint_of(model, levels))
