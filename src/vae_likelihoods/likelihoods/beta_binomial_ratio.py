"""The beta-binomial pmf beside the largest binomial one, to float32's digits for any concentration."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_likelihoods.likelihoods.stirling import BINET, STIRLING_HALF, OddSeries
from vae_likelihoods.likelihoods.tensors import mirrored, side_of


def log_ratio_to_mode(n: int, with_slopes: bool, eta: Tensor, log_c: Tensor, k: Tensor) -> list[Tensor]:
    """Return log P(k) - log Binomial(k; n, k/n), and if `with_slopes` its derivatives by eta and log c.

    It is accurate to about 1e-6 in float32 for any c; `beta_binomial.plain_log_pmf`, its specification, adds
    nine log-gammas of up to thousands and has no digits left there. With lgamma(x + 1) = y log y - y +
    log sqrt(2 pi) + J(y), y = x + 1/2, for a = c p and b = c (1-p), and Binet's form for their sum, the large
    terms are a weighted Jensen-Shannon divergence between (A, B) = (a + 3/2, b + 3/2) and (k, n-k),

        -[A log1p(s/A) + B log1p(-s/B) + k log1p(-s/k) + (n-k) log1p(s/(n-k))],

    s = (k - n A/T) T/(T+n), T = A + B. Its first-order parts cancel, and the rest is small. The log-gammas
    are taken 2 above a and b and 3 above c, where the series of J and of Binet's mu are short. By symmetry
    (k -> n-k, p -> 1-p) only p <= 1/2 is computed.
    """
    c, side, size = log_c.exp(), side_of(-eta), eta.abs()
    odds = size.clamp_max(80).neg_().exp_()  # beyond 80, a has no digits anyway, and underflow is slow
    q = (1 + odds).reciprocal_()
    p = odds.mul_(q)
    on = mirrored(k.to(eta.dtype), n, side)
    off = n - on
    a, b = p * c, q * c
    big_a, big_b, total, one_on = a + 1.5, b + 1.5, c + 3, on.clamp_min(1)
    up_a, up_b, up_total = big_a + on, big_b + off, total + n
    per_up_total = up_total.reciprocal()
    weight, share = total * per_up_total, per_up_total * n
    # The divergence in terms of |s|: its logs have the sign of s or the opposite sign.
    shift = (on * total).sub_(big_a, alpha=n).mul_(per_up_total)
    sign = shift.sign()
    shift.abs_()
    to_on, to_off = _log1p(shift, big_a, up_a * weight), _log1p(shift, big_b, up_b * weight)
    result = (big_a * to_on).addcmul_(big_b, to_off, value=-1)
    # Tensors are used again as soon as they are free: then they are in the cache.
    room, spare, other = torch.mul(up_a, share), torch.mul(up_b, share), torch.clamp(off, min=1)
    result.addcmul_(on, _log1p(shift, one_on, room), value=-1)
    result.addcmul_(off, _log1p(shift, other, spare)).mul_(sign)
    series = OddSeries(room, spare, other)
    by_a, by_b, by_c = to_on.mul_(sign), to_off.mul_(sign).neg_(), torch.div(share, total).mul_(-0.5)
    for y, alpha, slope in ((big_a, -1, by_a), (up_a, 1, by_a), (big_b, -1, by_b), (up_b, 1, by_b)):
        series.add(STIRLING_HALF, y, alpha, result, slope if with_slopes else None)
    series.add(BINET, total, 1, result, by_c if with_slopes else None)
    if n < 16:
        series.add(BINET, up_total, -1, result, by_c if with_slopes else None)
    else:  # the first term is enough
        result.sub_(per_up_total, alpha=1 / 12)
        by_c.addcmul_(per_up_total, per_up_total, value=1 / 12)
    # The rest of the log-gammas: (a+1) / (a+k+1) and so on; a itself may underflow, so it comes separately.
    one_a, one_b = big_a.sub_(0.5), big_b.sub_(0.5)  # a + 1, b + 1
    up_one_a, up_one_b, up_b = up_a.sub_(0.5), up_b.sub_(0.5), b + off
    # c (c+1) (c+2), and the same from c + n on as (v-1) v (v+1)
    square_c, v = total.mul_(c).add_(2), up_total.sub_(2)
    square_v, cube_c = v.square(), square_c * c
    cube_v = v.mul_(torch.sub(square_v, 1, out=spare))
    rest = torch.mul(one_a, one_b, out=spare).mul_(b).mul_(cube_v)
    rest.div_(torch.mul(up_one_a, up_one_b, out=other).mul_(up_b).mul_(cube_c)).square_().div_(weight)
    result.add_(rest.log_(), alpha=0.5)
    up = torch.add(a, one_on, out=room)
    log_a = torch.div(b, up, out=spare).log_().sub_(size)  # a = b exp(-size)
    result.addcmul_(torch.clamp(on, max=1, out=other), log_a)
    if not with_slopes:
        return [result]
    # x (digamma(x + m) - digamma(x)) for a, b and c, each minus x log((T+n) / T).
    by_a.addcdiv_(on, one_a.mul_(up_one_a)).mul_(a).addcdiv_(on, up)
    by_b.addcdiv_(off, one_b.mul_(up_one_b)).mul_(b).addcdiv_(off, up_b)
    # d log cube_c / d c = (3 c (c+2) + 2) / cube_c = (3 square_c - 3 c - 4) / cube_c
    by_c.addcdiv_(square_c.sub_(c).sub_(4 / 3), cube_c, value=-3)
    by_c.addcdiv_(square_v.sub_(1 / 3), cube_v, value=3)
    by_eta = q.mul_(by_a).addcmul_(p, by_b, value=-1).mul_(side)
    return [result, by_eta, by_a.add_(by_b).addcmul_(by_c, c)]


def _log1p(shift: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return |log(end / start)| for |end - start| = shift, with all digits; overwrites `end`."""
    # log(end / start) = log1p(shift / start) = -log1p(-shift / end): the argument that is positive is exact.
    return torch.div(shift, torch.minimum(start, end, out=end), out=end).log1p_()
