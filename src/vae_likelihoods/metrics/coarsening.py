"""The same model scored on coarser pixels: does the ranking of likelihoods hang on the number of levels?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.inference.bounds import effective_sample_size, importance_weighted_bound
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.metrics.base import Measured, Metric, Number, averaged, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE, reparameterised
from vae_likelihoods.units import NATS, Quantity


@dataclass(frozen=True)
class Coarsening(Metric):
    """Minus log p of the image at fewer levels, bounded from above with `samples` importance samples.

    Level k of K is seen as level floor(k K' / K) of K'. The mass of that is the sum of the pmf over the
    block of levels that become it, under the same decoder: nothing is trained again. The bound is

        E[ log mean_i p(z_i) P(block | z_i) / q(z_i | x) ]  <=  log p(block),    z_i ~ q(z | x),

    and q still sees all of x, so it may be too narrow for the block: see the effective sample size. The
    score at K itself, with the same draws, is what the others are held against; `bound` has more samples.

    A likelihood whose channels know of each other gives no mass to a pixel alone: nothing is measured.

    Args:
        levels: each K' that is scored, from many to few, each a multiple of the next one: so each block lies
            in the next. Those of K and above are left out.
        samples: k, z drawn for each image.
        evaluated_at_once: pixels worked on together: memory, speed, and which noise an image gets.
    """

    levels: Sequence[int]
    samples: int
    evaluated_at_once: int

    def __post_init__(self) -> None:
        given = list(self.levels)
        for levels in given:
            require_count("levels", levels, least=2)
        nested = all(many > few and many % few == 0 for many, few in pairwise(given))
        require(bool(given) and nested, "levels", given, "each must be a multiple of the next one")
        require_count("samples", self.samples)
        require_count("evaluated_at_once", self.evaluated_at_once)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        likelihood, images = model.likelihood, data.test.images
        fewer = [levels for levels in self.levels if levels < likelihood.levels]
        if not fewer or not likelihood.channels_factorise:
            return Measured({})
        scored = [likelihood.levels, *fewer]
        found: dict[int, list[Tensor]] = {levels: [] for levels in scored}
        for batch in in_batches(images, self.evaluated_at_once // (self.samples * images[0].numel())):
            for levels, log_weights in zip(scored, self.log_weights(model, batch, fewer, noise), strict=True):
                found[levels].append(log_weights)
        return Measured({k: v for at, parts in found.items() for k, v in self.summarise(at, parts).items()})

    def log_weights(
        self, model: VAE, k: Tensor, fewer: Sequence[int], noise: torch.Generator
    ) -> Iterator[Tensor]:
        """Yield the log importance weights [S, B] of images k as they are, then at each of `fewer` levels."""
        posterior = model.posterior(k)
        z = reparameterised(posterior, noise, self.samples)  # [S, B, L]
        log_ratio = (model.prior().log_prob(z) - posterior.log_prob(z)).sum(-1)  # [S, B]
        for log_mass in log_block_masses(model.likelihood, model.decode(z), k, fewer):
            yield log_mass + log_ratio

    def summarise(self, levels: int, log_weights: list[Tensor]) -> dict[str, Number]:
        """Return the score at so many levels, and how loose it is, from weights [S, B] of all batches."""
        drawn = partial(Quantity, importance_samples=self.samples)
        nll = numpy([-importance_weighted_bound(part) for part in log_weights])
        effective = numpy([effective_sample_size(part) for part in log_weights])
        return {
            f"nll_at_{levels}_levels_nats": averaged(
                nll, drawn(f"{NATS} of {levels} levels", "mass"), "lower"
            ),
            f"effective_sample_size_at_{levels}_levels": averaged(effective, drawn("samples per image")),
        }


def log_block_masses(
    likelihood: Likelihood, outputs: Tensor, k: Tensor, fewer: Sequence[int]
) -> Iterator[Tensor]:
    """Yield log P of images k [B, C, H, W] as they are, then at each of `fewer` levels, [..., B] in nats.

    A block starts from the one inside it and takes in the levels that it has more: K / K' masses in all.
    """
    inner = Block(k.long(), k.long() + 1)
    total = likelihood.pixel_log_mass(outputs, inner.first)
    yield _per_image(total)
    for levels in fewer:
        outer = block(k.long(), likelihood.levels, levels)
        for level, inside in more_levels(inner, outer):
            log_mass = likelihood.pixel_log_mass(outputs, level)
            total = torch.logaddexp(total, log_mass.masked_fill(~inside, -torch.inf))
        inner = outer
        yield _per_image(total)


class Block(NamedTuple):
    """The levels first .. end - 1 of each pixel."""

    first: Tensor
    end: Tensor


def block(k: Tensor, fine: int, coarse: int) -> Block:
    """Return which of `fine` levels become the same of `coarse` levels as k does.

    Example:
        >>> block(torch.tensor([0, 2, 3, 4]), fine=5, coarse=2)
        Block(first=tensor([0, 0, 3, 3]), end=tensor([3, 3, 5, 5]))
    """
    seen = k * coarse // fine
    first, end = (-(-bound * fine // coarse) for bound in (seen, seen + 1))  # rounded up
    return Block(first, end)


def more_levels(inner: Block, outer: Block) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the levels of `outer` that are not in `inner`, one for each pixel at a time, and if there is one.

    Example:
        >>> inner, outer = Block(*torch.tensor([[1], [3]])), Block(*torch.tensor([[0], [5]]))
        >>> [level.tolist() for level, _ in more_levels(inner, outer)]
        [[0], [3], [4]]
    """
    below, missing = inner.first - outer.first, (outer.end - outer.first) - (inner.end - inner.first)
    for place in range(int(missing.max())):
        level = torch.where(place < below, outer.first, inner.end - below) + place
        yield torch.minimum(level, outer.end - 1), place < missing


def _per_image(log_mass: Tensor) -> Tensor:
    return log_mass.sum((-3, -2, -1)).clamp_max(0)  # a mass near 1 may round to above it
