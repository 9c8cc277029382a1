"""log p(x) by annealing: closer than the importance-weighted bound, and checked on images of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
from vae_likelihoods.metrics.base import Value, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

Start = Literal["prior", "posterior"]
SIMULATED = Quantity("nats per image drawn from the model", "mass")
_GAP = "how far the bound by annealing lies above the importance-weighted one of the same images"
_EFFECTIVE = "how many of the chains of an image carry weight, mean over images"


@dataclass(frozen=True)
class AIS(Annealed):
    """Annealed importance sampling with Hamiltonian Monte Carlo, on test images and on simulated ones.

    On test images it bounds -log p(x) from above, like the importance-weighted bound of the same images.
    For images that are drawn from the model, as many, an exact z is known. So chains can start at either
    end, and -log p(x) lies between the expectations of the two results. If these are near each other, the
    chains are long enough for this decoder. A single run has noise besides: an interval that is narrower
    than its noise misses -log p(x) more often than not.

    Args:
        start: where chains begin. ``prior`` does not depend on the encoder; ``posterior``, the encoder's
            q(z | x), is nearer if the encoder is good.
        samples: k of the importance-weighted bound that it is compared with.
    """

    start: Start
    samples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        starts = get_args(Start)
        require(self.start in starts, "start", self.start, "chains cannot start there", starts)
        require_count("samples", self.samples)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        nats = partial(Declaration, format=",.2f")
        test, gap = Quantity(NATS, "mass"), Quantity(NATS, "mass", self.samples)
        simulated = "of the interval that holds -log p(x) in expectation, on images drawn from the model"
        numbers = [
            nats("nll_ais_nats", "minus the bound by annealing", test, "NLL, annealed", better="lower"),
            nats("iwae_gap_nats", _GAP, gap, "gap to annealing", better="lower"),
            nats("simulated_nll_upper_nats", f"upper end {simulated}", SIMULATED, "simulated NLL, upper end"),
            nats("simulated_nll_lower_nats", f"lower end {simulated}", SIMULATED, "simulated NLL, lower end"),
            nats("simulated_gap_nats", f"width {simulated}", SIMULATED, "simulated gap", better="lower"),
        ]
        moved, weighty = Quantity("share of transitions that moved"), Quantity("chains per image")
        return [
            *(each for number in numbers for each in (number, number.standard_error())),
            Declaration("ais_effective_chains", _EFFECTIVE, weighty, "effective chains", ".1f"),
            Declaration("ais_acceptance", "accepted transitions of the chains", moved, "acceptance", ".3f"),
        ]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        images = data.test.images[: self.images]
        with frozen(model):
            values = self._of_images(model, images, noise, kept=len(images) == len(data.test.images))
            return values | self._of_simulated(model, noise)

    def _of_images(self, model: VAE, levels: Tensor, noise: torch.Generator, kept: bool) -> dict[str, Value]:
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
        return {
            **with_error("nll_ais_nats", numpy(nll), kept),
            **with_error("iwae_gap_nats", numpy(gaps), kept),
            "ais_effective_chains": float(numpy(sizes).mean()),
            "ais_acceptance": float(numpy(rates).mean()),
        }

    def _of_simulated(self, model: VAE, noise: torch.Generator) -> dict[str, Value]:
        """Return both ends of the interval on images of the model, and its width."""
        upper, lower = [], []
        latents, levels = simulated(model, self.images, noise)
        for z, batch in zip(latents.split(self.batch_size), in_batches(levels, self.batch_size), strict=True):
            path = self._path(model, batch)
            steps = self.annealing.step_sizes(path, noise)
            upper.append(-importance_weighted_bound(self.annealing.up(path, steps, noise).log_weights))
            lower.append(importance_weighted_bound(self.annealing.down(path, z, steps, noise).log_weights))
        return {
            **with_error("simulated_nll_upper_nats", numpy(upper), kept=False),
            **with_error("simulated_nll_lower_nats", numpy(lower), kept=False),
            **with_error("simulated_gap_nats", numpy(upper) - numpy(lower), kept=False),
        }

    def _path(self, model: VAE, levels: Tensor) -> Path:
        initial = model.posterior(levels) if self.start == "posterior" else prior_of(model, len(levels))
        return Path(initial, log_joint_of(model, levels))
