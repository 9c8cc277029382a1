"""The same model scored on coarser pixels: does the ranking depend on the number of levels?"""

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
from vae_likelihoods.metrics.base import Floats, Metric, Missing, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE, reparameterised
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

_EFFECTIVE = "how many of the k samples carry weight, mean over images; near 1 the bound is loose"


@dataclass(frozen=True)
class Coarsening(Metric):
    """Minus log p of the image at fewer levels, bounded from above with `samples` importance samples.

    Level k of K becomes level floor(k K' / K) of K' levels. The mass of that level is the sum of the pmf over
    the block of levels that become it, under the same decoder: nothing is trained again. The bound is

        E[ log mean_i p(z_i) P(block | z_i) / q(z_i | x) ]  <=  log p(block),    z_i ~ q(z | x).

    q still sees all of x, so it may be too narrow for the block: see the effective sample size. The scores
    are compared with the score at K from the same draws, not with that of `bound`, which has more samples.

    If the channels of a pixel depend on each other, a pixel alone has no mass. Then the numbers are missing.

    Args:
        levels: each K' that is scored, from many to few, each a multiple of the next one, so that each block
            lies in the next. Those of K and above are left out.
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
    def declarations(self, levels: int) -> list[Declaration]:
        drawn = partial(Quantity, importance_samples=self.samples)
        numbers = []
        for at in [levels, *self._fewer(levels)]:
            nll, ess = _names(at)
            meaning = f"minus the bound on log p of the image at {at} levels"
            unit = drawn(f"{NATS} of {at} levels", "mass")
            point = ("levels", at)
            numbers += [
                Declaration(nll, meaning, unit, f"NLL, K={at}", ",.2f", "lower", point=point),
                Declaration(ess, _EFFECTIVE, drawn("samples per image"), f"ESS, K={at}", ".2f"),
            ]
        return numbers

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        likelihood, images = model.likelihood, data.test.images
        fewer = self._fewer(likelihood.levels)
        if not fewer:
            return {}
        if not likelihood.channels_factorise:
            return self.without(data, Missing("the channels of a pixel depend on each other"))
        scored = [likelihood.levels, *fewer]
        weights: dict[int, list[Tensor]] = {levels: [] for levels in scored}
        for batch in in_batches(images, self.evaluated_at_once // (self.samples * images[0].numel())):
            for levels, log_weights in zip(scored, self.log_weights(model, batch, fewer, noise), strict=True):
                weights[levels].append(log_weights)
        return {k: v for levels, parts in weights.items() for k, v in summarise(levels, parts).items()}

    def _fewer(self, levels: int) -> list[int]:
        return [fewer for fewer in self.levels if fewer < levels]

    def log_weights(
        self, model: VAE, k: Tensor, fewer: Sequence[int], noise: torch.Generator
    ) -> Iterator[Tensor]:
        """Yield the log importance weights [S, B] of images k as they are, then at each of `fewer` levels."""
        posterior = model.posterior(k)
        z = reparameterised(posterior, noise, self.samples)  # [S, B, L]
        log_ratio = (model.prior().log_prob(z) - posterior.log_prob(z)).sum(-1)  # [S, B]
        for log_mass in log_block_masses(model.likelihood, model.decode(z), k, fewer):
            yield log_mass + log_ratio


def summarise(levels: int, log_weights: list[Tensor]) -> dict[str, Floats]:
    """Return the score at this number of levels, and how loose it is, from weights [S, B] of all batches."""
    nll, ess = _names(levels)
    return {
        nll: numpy([-importance_weighted_bound(part) for part in log_weights]),
        ess: numpy([effective_sample_size(part) for part in log_weights]),
    }


def _names(levels: int) -> tuple[str, str]:
    return f"nll_at_{levels}_levels_nats", f"effective_sample_size_at_{levels}_levels"


def log_block_masses(
    likelihood: Likelihood, outputs: Tensor, k: Tensor, fewer: Sequence[int]
) -> Iterator[Tensor]:
    """Yield log P of images k [B, C, H, W] as they are, then at each of `fewer` levels, [..., B] in nats.

    A block starts from the block inside it and adds the levels that are missing: K / K' masses in all.
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
    """Return which of `fine` levels become the same one of `coarse` levels as k.

    Example:
        >>> block(torch.tensor([0, 2, 3, 4]), fine=5, coarse=2)
        Block(first=tensor([0, 0, 3, 3]), end=tensor([3, 3, 5, 5]))
    """
    seen = k * coarse // fine
    first, end = (-(-bound * fine // coarse) for bound in (seen, seen + 1))  # rounded up
    return Block(first, end)


def more_levels(inner: Block, outer: Block) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the levels of `outer` that `inner` lacks, one for each pixel at a time, and whether it has one.

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
