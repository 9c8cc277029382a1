"""The share of [0, 1] that an interval has under a normal, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.laws.normal_interval import (
    TAIL,
    NormalInterval,
    log_beyond,
    slopes,
    tail_slopes,
)
from vae_likelihoods.likelihoods.pointwise import Values
from vae_likelihoods.likelihoods.share import FARTHEST, LogShare
from vae_likelihoods.likelihoods.tensors import above, mirrored


class NormalLogShare(LogShare):
    """`LogShare` of the normal law, faster and with its digits farther out.

    Where mu lies outside [0, 1] both masses are tiny. Their densities at the edges nearest to mu, a and A,
    are compared as (a^2 - A^2) / 2 = (a - A) (a + A) / 2, with a - A from the levels, which are exact. Far
    outside, slopes are taken apart in the same way.
    """

    def __call__(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, start: Tensor
    ) -> Values:
        """Return the log-share, and its derivatives by mean and by the scale's number; `start` is in bins."""
        output, *raw = numbers
        sigma, by_raw = self.scale.with_slope(raw) if shared is None else (shared, None)
        mu, start = output.clamp(-FARTHEST, FARTHEST), start.to(output.dtype)
        length, levels, per_sigma = self.length, self.levels, sigma.reciprocal()
        # The width of a bin in standard deviations, and how many bins of [0, start] lie above mu.
        bin_width, below = per_sigma * (1 / levels), start - levels * mu
        width = bin_width if length == 1 else length * bin_width
        part = NormalInterval.of(below * bin_width, (below + length).mul_(bin_width), width)
        whole = NormalInterval.of((mu * per_sigma).neg_(), (1 - mu).mul_(per_sigma), per_sigma)
        of_part, of_whole = log_beyond(part), log_beyond(whole)
        between = mirrored(start, levels - length, whole.side).mul_(bin_width)  # a - A
        apart = part.half_square.lerp_((part.a + whole.a).mul_(between).mul_(0.5), above(whole.a, 0))
        if not with_slopes:
            return Values(of_part.sub_(of_whole).sub_(apart))
        is_far = not mu.is_cpu or bool(whole.a.max() > TAIL)
        tails = [tail_slopes(part), tail_slopes(whole)] if is_far else []
        (by_part, by_part_width), (by_whole, by_whole_width) = slopes(part, of_part), slopes(whole, of_whole)
        log_share = of_part.sub_(of_whole).sub_(apart)
        by_log_width = part.c.mul_(part.side).mul_(by_part).addcmul_(part.width, by_part_width)
        by_log_width -= whole.c.mul_(whole.side).mul_(by_whole).addcmul_(whole.width, by_whole_width)
        by_place = by_part.sub_(by_whole)
        if is_far:
            far, ((edge, own), (whole_edge, whole_own)) = above(whole.a, TAIL), tails
            by_own = (part.a * edge).addcmul_(part.width, own).sub_(apart, alpha=2)
            by_own.addcmul_(whole.a, whole_edge, value=-1).addcmul_(whole.width, whole_own, value=-1)
            by_log_width.lerp_(by_own, far)
            by_place.lerp_(edge.sub_(whole_edge).sub_(between).mul_(whole.side), far)
        by_mu = by_place.mul_(per_sigma).neg_()
        if not mu.is_cpu or max(map(abs, torch.aminmax(output))) > FARTHEST:
            by_mu.mul_(1 - above(output.abs(), FARTHEST))
        by_sigma = by_log_width.div_(sigma).neg_()
        if by_raw is None:
            return Values(log_share, [by_mu], by_sigma)
        return Values(log_share, [by_mu, by_sigma.mul_(by_raw)])
