"""The ELBO, its parts, and the importance-weighted bound: the score that ranks likelihoods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.metrics.base import Floats, Metric, Missing, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import standard_error
from vae_likelihoods.models.base import DirectModel, Model
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import ITSELF, Declaration
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, bits_per_dim

_BITS = "nll_nats / (D ln 2), D = pixels × channels; a uniform guess scores log2 K"
_NLL = "minus the importance-weighted bound on log p(x); or minus log p(x), where the score is exact"
_ELBO = "-(rate + distortion); never above -nll_nats in expectation"
_RATE = "KL(q(z|x) to p(z)): what the latents tell about an image"
_DISTORTION = "-E log p(x|z) under q(z|x): what the latents leave open"
_SAMPLES = "samples of z for each image in the importance-weighted bound"
_EXACT = Missing("the score is exact: the model has no posterior q(z|x)")
_EFFECTIVE = "how many of the k samples carry weight, mean over images; near 1 the bound is loose"


@dataclass(frozen=True)
class Bound(Metric):
    """Minus log p(x), bounded from above with `samples` importance samples; mathematics in docs/theory.md.

    Of a model that gives p(x) directly it is minus log p(x) itself.

    Args:
        samples: k; the bound rises with it to log p(x).
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    of: ClassVar[type] = Model
    samples: int
    decoded_at_once: int

    def __post_init__(self) -> None:
        require_count("samples", self.samples)
        require_count("decoded_at_once", self.decoded_at_once)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        mass = partial(Quantity, scale="mass", importance_samples=self.samples)
        draws = Quantity("samples per image", importance_samples=self.samples)
        nats, k = partial(Declaration, format=",.2f"), "importance_samples"
        bits = Declaration(
            "bits_per_dim", _BITS, mass(BITS), "bits/dim", ".4f", "lower", whole=ITSELF, short="bpd"
        )
        return [
            bits,
            bits.standard_error(short="bpd_se"),
            nats("nll_nats", _NLL, mass(NATS), "NLL", better="lower", whole=ITSELF, short="nll"),
            nats("elbo_nats", _ELBO, mass(NATS), "ELBO", better="higher", whole=ITSELF, short="elbo"),
            nats("rate_nats", _RATE, Quantity(NATS), "rate", whole="nll_nats", short="rate"),
            nats("distortion_nats", _DISTORTION, mass(NATS), "distortion", whole=ITSELF, short="distortion"),
            Declaration(k, _SAMPLES, draws, "k", "d", exact=True),
            Declaration("effective_sample_size", _EFFECTIVE, draws, "ESS", ".1f", whole=k, short="ess"),
        ]

    @override
    def __call__(self, model: VAE | DirectModel, data: Data, noise: torch.Generator) -> Values:
        if isinstance(model, DirectModel):
            return self._exact(model, data)
        levels = data.test.images
        nll, ess, rate, distortion = [], [], [], []
        for batch in in_batches(levels, self.decoded_at_once // self.samples):
            posterior = model.posterior(batch)
            bounds = importance_weighted(model, batch, posterior, [self.samples], noise, self.decoded_at_once)
            nll.append(-bounds.log_mean_weight[0])
            ess.append(bounds.effective_sample_size[0])
            rate.append(bounds.rate)
            distortion.append(-bounds.log_likelihood)
        _require_scored(numpy(nll))
        per_image = {
            "nll_nats": numpy(nll),
            "rate_nats": numpy(rate),
            "distortion_nats": numpy(distortion),
            "effective_sample_size": numpy(ess),
        }
        return summarise(per_image, self.samples, levels[0].numel())

    def _exact(self, model: DirectModel, data: Data) -> Values:
        """Return the numbers of a model that gives p(x); the parts of a bound are missing."""
        levels = data.test.images
        nll = numpy([-model.scores(levels)])
        _require_scored(nll)
        bits = bits_per_dim(nll, math.prod(levels.shape[1:]))
        score = {"bits_per_dim": float(bits.mean()), "bits_per_dim_se": standard_error(bits), "nll_nats": nll}
        return {**self.without(data, _EXACT), **score}


def _require_scored(nll: Floats) -> None:
    """Refuse a model that gives no probability to some image: no number of it would be a score."""
    lost = np.count_nonzero(~np.isfinite(nll))
    reason = f"is not finite for {lost} of {len(nll)} test images: the model gives them no probability"
    require(lost == 0, "nll_nats", nll.mean(), reason)


def summarise(per_image: Mapping[str, Floats], samples: int, dimensions: int) -> Values:
    """Return the numbers of each image, and bits per dimension with its standard error over images."""
    bits = bits_per_dim(per_image["nll_nats"], dimensions)
    rate, distortion = per_image["rate_nats"].mean(), per_image["distortion_nats"].mean()
    return {
        "bits_per_dim": float(bits.mean()),
        "bits_per_dim_se": standard_error(bits),
        "elbo_nats": float(-(rate + distortion)),
        "importance_samples": samples,
        **per_image,
    }
