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
from vae_likelihoods.metrics.base import Floats, Metric, Value, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import with_error
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

MatMul = Literal["highest", "high", "medium"]


@dataclass(frozen=True)
class IWAECurve(Metric):
    """Minus the importance-weighted bound at each k, all from the same max(k) draws (inference/bounds.py).

    Args:
        k: the numbers of draws; where each divides the next, the curve falls for every image.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
        matmul: the precision of matrix products (`torch.set_float32_matmul_precision`). ``medium`` is several
            times faster if the processor has units for bfloat16. It then bounds log p(x) of the model whose
            decoder rounds in this way, which differs a little from the trained model.
    """

    k: Sequence[int]
    decoded_at_once: int
    matmul: MatMul = "highest"

    def __post_init__(self) -> None:
        rising = len(self.k) > 0 and list(self.k) == sorted(set(self.k))
        require(rising, "k", self.k, "must be numbers of draws that rise")
        for draws in self.k:
            require_count("k", draws)
        require_count("decoded_at_once", self.decoded_at_once)
        choices = get_args(MatMul)
        require(self.matmul in choices, "matmul", self.matmul, "no such precision", choices)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        numbers = []
        for k in self.k:
            bound, size = Quantity(NATS, "mass", k), Quantity("samples per image", importance_samples=k)
            name, meaning = f"nll_k{k}_nats", f"minus the importance-weighted bound on log p(x) with k = {k}"
            point = ("samples", k)
            nll = Declaration(name, meaning, bound, f"NLL, k={k}", ",.2f", "lower", point=point)
            effective = f"how many of the {k} samples carry weight, mean over images"
            ess = Declaration(f"effective_sample_size_k{k}", effective, size, f"ESS, k={k}", ".1f")
            numbers += [nll, nll.standard_error(), ess]
        return numbers

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        nll, ess = [], []
        with matmul_precision(self.matmul):
            for batch in in_batches(data.test.images, self.decoded_at_once // max(self.k)):
                posterior = model.posterior(batch)
                bounds = importance_weighted(model, batch, posterior, self.k, noise, self.decoded_at_once)
                nll.append(-bounds.log_mean_weight.T)  # [B, P]
                ess.append(bounds.effective_sample_size.T)
        return summarise(self.k, numpy(nll).T, numpy(ess).T)


def summarise(curve: Sequence[int], nll: Floats, ess: Floats) -> Values:
    """Return score, standard error over images and effective sample size at each k, from [P, N] numbers."""
    values: dict[str, Value] = {}
    for k, nats, sizes in zip(curve, nll, ess, strict=True):
        values |= with_error(f"nll_k{k}_nats", nats)
        values[f"effective_sample_size_k{k}"] = float(sizes.mean())
    return values


@contextmanager
def matmul_precision(precision: MatMul) -> Iterator[None]:
    """Compute matrix products of float32 in this precision inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
