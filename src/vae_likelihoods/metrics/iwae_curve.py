"""How the importance-weighted bound rises with k: is the score at some k still loose?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.metrics.base import Floats, Measured, Metric, Number, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import NATS, Quantity

MatMul = Literal["highest", "high", "medium"]


@dataclass(frozen=True)
class IWAECurve(Metric):
    """Minus the importance-weighted bound at each k, from the same max(k) draws; `bounds` says how.

    Args:
        k: the numbers of draws; where each divides the next, the curve falls for every image.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
        matmul: the precision of matrix products (`torch.set_float32_matmul_precision`). ``medium`` is several
            times faster where the processor has units for bfloat16. What it bounds is then log p(x) of the
            model whose decoder rounds so, a model a little off the one that was trained.
    """

    k: Sequence[int]
    decoded_at_once: int
    matmul: MatMul = "highest"

    def __post_init__(self) -> None:
        rising = len(self.k) > 0 and list(self.k) == sorted(set(self.k))
        require(rising, "k", self.k, "must be numbers of draws that rise")
        for one in self.k:
            require_count("k", one)
        require_count("decoded_at_once", self.decoded_at_once)
        choices = get_args(MatMul)
        require(self.matmul in choices, "matmul", self.matmul, "no such precision", choices)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        nll, ess = [], []
        with matmul_precision(self.matmul):
            for batch in in_batches(data.test.images, self.decoded_at_once // max(self.k)):
                posterior = model.posterior(batch)
                found = importance_weighted(model, batch, posterior, self.k, noise, self.decoded_at_once)
                nll.append(-found.log_mean_weight.T)  # [B, P]
                ess.append(found.effective_sample_size.T)
        return Measured(summarise(self.k, numpy(nll).T, numpy(ess).T))


def summarise(curve: Sequence[int], nll: Floats, ess: Floats) -> dict[str, Number]:
    """Return mean, standard error over images and effective sample size at each k, from [P, N] numbers."""
    found: dict[str, Number] = {}
    for k, nats, sizes in zip(curve, nll, ess, strict=True):
        draws = Quantity("samples per image", importance_samples=k)
        found |= with_error(f"nll_k{k}_nats", nats, Quantity(NATS, "mass", k), "lower")
        found[f"effective_sample_size_k{k}"] = Number(float(sizes.mean()), draws)
    return found


@contextmanager
def matmul_precision(precision: MatMul) -> Iterator[None]:
    """Compute matrix products of float32 in this precision inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
