"""Every pixel and channel by itself: a smoothed histogram of its levels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import number
from vae_likelihoods.models.base import DirectModel
from vae_likelihoods.precision import precise

PIXELS_AT_ONCE = 1 << 22  # that are counted: 32 MiB of places


class Independent(DirectModel):
    """p(x) is the product over pixels d of (n_dk + a) / (N + a K), at the level k that x has there.

    n_dk of the N train images have level k at pixel d; a is the smoothing. With a = 1/2 it is the estimator
    of Krichevsky and Trofimov (1981, https://doi.org/10.1109/TIT.1981.1056331). Uniform until it is fitted.

    Args:
        shape: C, H, W of the images.
        levels: K.
        smoothing: a, 0 or more. With 0 a level that no train image has somewhere is impossible there.

    Raises:
        SettingError: the smoothing is negative or no number.
    """

    fits_itself = True
    log_shares: Tensor  # [C, H, W, K]

    def __init__(self, shape: tuple[int, int, int], levels: int, smoothing: float) -> None:
        super().__init__(levels, shape)
        possible = 0 <= number(smoothing) < math.inf
        require(possible, "smoothing", smoothing, "must be a number, 0 or more")
        self.smoothing = smoothing
        self.register_buffer("log_shares", torch.full((*shape, levels), -math.log(levels)))

    @property
    @override
    def parameter_count(self) -> int:
        """K - 1 free shares of every pixel and channel."""
        return math.prod(self.shape) * (self.levels - 1)

    @override
    def fit(self, train: Tensor, validation: Tensor) -> bool:
        shares = log_shares(level_counts(train, self.levels), self.smoothing)
        self.log_shares.copy_(shares.view_as(self.log_shares).to(self.dtype))
        return True

    @override
    def log_mass(self, levels: Tensor, rows: int = 0) -> Tensor:
        shares = self.log_shares[:, rows:].flatten(0, 2)
        return log_probability(shares, levels[..., rows:, :])

    @override
    def complete(self, levels: Tensor, rows: int, noise: torch.Generator) -> Tensor:
        images = levels.to(torch.uint8, copy=True)
        drawn = draws(self.log_shares[:, rows:].exp(), len(levels), noise)
        images[..., rows:, :] = drawn.movedim(-1, 0)
        return images


def level_counts(images: Tensor, levels: int) -> Tensor:
    """Return how many of N images [N, C, H, W] have each level at each of D = C H W pixels: int64 [D, K]."""
    dimensions = images[0].numel()
    first = levels * torch.arange(dimensions, device=images.device)  # the place of each pixel's level 0
    return tally(images, dimensions * levels, lambda pixels: first + pixels).view(dimensions, levels)


def log_shares(counts: Tensor, smoothing: float) -> Tensor:
    """Return the logarithm of the smoothed share of each level at each pixel, float64 [D, K].

    Args:
        counts: of each level at each pixel, [D, K].
        smoothing: what is added to every count.
    """
    smoothed = precise(counts) + smoothing
    return torch.log(smoothed / smoothed.sum(1, keepdim=True))


def log_probability(log_shares: Tensor, images: Tensor) -> Tensor:
    """Return the log-probability of each image under independent pixels, [B] in nats; summed in float64.

    Args:
        log_shares: of each level at each pixel, [D, K].
        images: levels [B, C, H, W].
    """
    pixels = images.flatten(1).long()
    logs = log_shares[torch.arange(len(log_shares), device=pixels.device), pixels]
    return precise(logs).sum(1).to(log_shares)


def tally(images: Tensor, size: int, places: Callable[[Tensor], Tensor]) -> Tensor:
    """Return how often each place 0 .. size - 1 occurs, int64 [size]; some images are counted at a time.

    Args:
        images: levels [N, C, H, W].
        size: how many places there are.
        places: those of the pixels of some images, for their levels, both int64 [B, D].
    """
    counts = torch.zeros(size, dtype=torch.int64, device=images.device)
    for part in images.flatten(1).split(max(1, PIXELS_AT_ONCE // images[0].numel())):
        counts += torch.bincount(places(part.long()).flatten(), minlength=size)
    return counts


def draws(mass: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """Return levels drawn from pmfs, int64 [..., count]: each cdf is inverted at uniform numbers.

    Args:
        mass: of each level, up to a factor, [..., K]; a level of mass 0 is never drawn.
        count: how many levels of each pmf.
        noise: the source of random numbers.
    """
    cdf = mass.cumsum(-1)
    cdf = cdf / cdf[..., -1:]  # from the last possible level on it is 1, above every uniform number
    shape = (*mass.shape[:-1], count)
    uniform = torch.rand(shape, generator=noise, device=mass.device, dtype=mass.dtype)
    return torch.searchsorted(cdf, uniform, right=True)
