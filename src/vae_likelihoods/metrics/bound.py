"""The ELBO, its parts, and the importance-weighted bound: the score that ranks likelihoods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.metrics.base import Floats, Measured, Metric, Number, averaged, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import BITS, NATS, Quantity, bits_per_dim


@dataclass(frozen=True)
class Bound(Metric):
    """Minus log p(x), bounded from above with `samples` importance samples; mathematics in docs/theory.md.

    Args:
        samples: k; the bound rises with it to log p(x).
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    samples: int
    decoded_at_once: int

    def __post_init__(self) -> None:
        require_count("samples", self.samples)
        require_count("decoded_at_once", self.decoded_at_once)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        levels = data.test.images
        nll, ess, rate, distortion = [], [], [], []
        for batch in in_batches(levels, self.decoded_at_once // self.samples):
            posterior = model.posterior(batch)
            found = importance_weighted(model, batch, posterior, [self.samples], noise, self.decoded_at_once)
            nll.append(-found.log_mean_weight[0])
            ess.append(found.effective_sample_size[0])
            rate.append(found.rate)
            distortion.append(-found.log_likelihood)
        per_image = {
            "nll_nats": numpy(nll),
            "rate_nats": numpy(rate),
            "distortion_nats": numpy(distortion),
            "effective_sample_size": numpy(ess),
        }
        return Measured(summarise(per_image, self.samples, levels[0].numel()))


def summarise(per_image: dict[str, Floats], samples: int, dimensions: int) -> dict[str, Number]:
    """Return means over images, and bits per dimension with its standard error over images."""
    bits = bits_per_dim(per_image["nll_nats"], dimensions)
    rate, distortion = per_image["rate_nats"].mean(), per_image["distortion_nats"].mean()
    mass = partial(Quantity, scale="mass", importance_samples=samples)
    draws = Quantity("samples per image", importance_samples=samples)
    return {
        "bits_per_dim": Number(float(bits.mean()), mass(BITS), better="lower"),
        "bits_per_dim_se": Number(float(bits.std(ddof=1) / math.sqrt(len(bits))), mass(BITS)),
        "nll_nats": averaged(per_image["nll_nats"], mass(NATS), "lower"),
        "elbo_nats": Number(float(-(rate + distortion)), mass(NATS), better="higher"),
        "rate_nats": averaged(per_image["rate_nats"], Quantity(NATS)),
        "distortion_nats": averaged(per_image["distortion_nats"], mass(NATS)),
        "importance_samples": Number(samples, draws),
        "effective_sample_size": averaged(per_image["effective_sample_size"], draws),
    }
