"""Residual encoder and decoder for images of 8 to 128 pixels, grey or in colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from vae_likelihoods.errors import require
from vae_likelihoods.networks.base import Networks

_LAST = 7  # pixels: a side is halved until it has no more
_MOST = 128  # feature maps, if the widths are not given
_GROUPS = 8
_DEEPEST = 64  # blocks at each size


def resnet(
    shape: Sequence[int],
    latent_dim: int,
    output_channels: int,
    widths: Sequence[int] | None = None,
    depth: int = 1,
) -> Networks:
    """Build an encoder of residual blocks that halves the size between them, and a decoder that mirrors it.

    A block is GroupNorm, SiLU and a 3x3 convolution, twice, beside the identity (He et al. 2016,
    arXiv:1603.05027; Wu and He 2018, arXiv:1803.08494). Sizes are halved by averages. They grow again by
    repeated pixels and a convolution: transposed convolutions draw checkerboards (Odena et al. 2016,
    doi:10.23915/distill.00003).

    Args:
        shape: C, H, W of the images; odd sizes are rounded up when halved, and the decoder restores them.
        latent_dim: L.
        output_channels: P*C.
        widths: feature maps at each size, the full one first. None: the size is halved until no side has
            more than 7 pixels, from 32 maps (16 above 40 pixels) doubled each time up to 128.
        depth: blocks at each size.

    Raises:
        SettingError: widths or depth cannot be, or an image is too small to be halved so often.
    """
    require(type(depth) is int and 1 <= depth <= _DEEPEST, "depth", depth, f"must be 1 .. {_DEEPEST} blocks")
    channels, height, width = shape
    widths = default_widths(height, width) if widths is None else widths
    usable = isinstance(widths, Sequence) and len(widths) > 0
    usable = usable and all(type(each) is int and each > 0 for each in widths)
    require(usable, "widths", widths, "must be a list of numbers of maps, each at least 1, such as [32,64]")
    sizes = [(height, width)]
    for _ in widths[1:]:
        sizes.append((_half(sizes[-1][0]), _half(sizes[-1][1])))
    smallest = len(widths) == 1 or max(sizes[-2]) > 1
    reason = f"are {len(widths)}, and images of {height} x {width} cannot be halved so often"
    require(smallest, "widths", widths, reason)
    last = (widths[-1], *sizes[-1])
    encoder = nn.Sequential(
        nn.Conv2d(channels, widths[0], 3, padding=1),
        *_blocks(widths[0], depth),
        *(
            layer
            for maps, wider in pairwise(widths)
            for layer in (Halved(), nn.Conv2d(maps, wider, 1), *_blocks(wider, depth))
        ),
        *(_norm(widths[-1]), nn.SiLU(), nn.Flatten()),
        nn.Linear(math.prod(last), 2 * latent_dim),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, math.prod(last)), nn.Unflatten(-1, last)),
        *_blocks(widths[-1], depth),
        *(
            layer
            for (maps, narrower), size in zip(pairwise(widths[::-1]), sizes[-2::-1], strict=True)
            for layer in (Grown(size), nn.Conv2d(maps, narrower, 3, padding=1), *_blocks(narrower, depth))
        ),
        *(_norm(widths[0]), nn.SiLU()),
        nn.Conv2d(widths[0], output_channels, 3, padding=1),
    )
    return Networks(encoder, decoder)


def default_widths(height: int, width: int) -> list[int]:
    """Return the feature maps at each size that suit images of so many pixels.

    Example:
        >>> default_widths(28, 28), default_widths(32, 32), default_widths(64, 64)
        ([32, 64, 128], [32, 64, 128, 128], [16, 32, 64, 128, 128])
    """
    maps = [16 if max(height, width) > 40 else 32]
    while max(height, width) > _LAST:
        height, width = _half(height), _half(width)
        maps.append(min(2 * maps[-1], _MOST))
    return maps


class Residual(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x)))))): neither maps nor size change."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(maps, maps, 3, padding=1) for _ in range(2))
        self.branch = nn.Sequential(_norm(maps), nn.SiLU(), first, _norm(maps), nn.SiLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the shape of `x`, [B, M, H, W]."""
        branch: Tensor = self.branch(x)
        return x + branch


class Halved(nn.Module):
    """Averages of 2 x 2 pixels; at the end of an odd side, of those that are there."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, M, H, W] as [B, M, ceil(H / 2), ceil(W / 2)]."""
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


class Grown(nn.Module):
    """Every pixel twice in each direction, cut to a size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, M, H, W] in the size, at most [B, M, 2 H, 2 W]."""
        height, width = self.size
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., :height, :width]


def _blocks(maps: int, depth: int) -> list[nn.Module]:
    return [Residual(maps) for _ in range(depth)]


def _norm(maps: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_GROUPS, maps), maps)


def _half(size: int) -> int:
    return (size + 1) // 2
