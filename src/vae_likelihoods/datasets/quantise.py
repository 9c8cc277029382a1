"""From native levels to the K levels of a study: pure functions of prepared images and derived generators."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import require
from vae_likelihoods.seeding import generator

Binarize = Literal["threshold", "stochastic"]


def quantise(images: Tensor, native: int, levels: int) -> Tensor:
    """Return ``floor(k K / native)``: K bins over the native levels, as equal as can be.

    Args:
        images: native levels k, uint8 of any shape, 0 .. native - 1.
        native: number of native levels.
        levels: K, from 2 to `native`; with K = `native` the images come back as they are.

    Raises:
        SettingError: if K levels cannot be had.

    Example:
        >>> quantise(torch.tensor([0, 127, 128, 255], dtype=torch.uint8), native=256, levels=2).tolist()
        [0, 0, 1, 1]
    """
    whole = isinstance(levels, int) and not isinstance(levels, bool)
    possible = f"the data have {native} levels, so 2 to {native} can be had"
    require(whole and 2 <= levels <= native, "levels", levels, possible)
    if levels == native:
        return images
    return (images.to(torch.int32) * levels).div_(native, rounding_mode="floor").to(torch.uint8)


def binarize(images: Tensor, native: int, generator: torch.Generator) -> Tensor:
    """Return a draw of binary pixels, on with probability ``k / (native - 1)``; uint8 of the same shape.

    The usual dynamic binarisation (Salakhutdinov and Murray 2008, https://doi.org/10.1145/1390156.1390266).
    A uniform integer below native - 1 falls below k with exactly that probability, in a byte a pixel.

    Args:
        images: native levels k, uint8, 0 .. native - 1, on the generator's device.
        native: number of native levels.
        generator: where the draw comes from.
    """
    threshold = torch.randint(
        native - 1, images.shape, generator=generator, device=images.device, dtype=torch.uint8
    )
    return (threshold < images).to(torch.uint8)


def draw(images: Tensor, native: int, seed: int, epoch: int) -> Tensor:
    """Return the binary pixels that training with `seed` sees in `epoch`; on the device of `images`."""
    return binarize(images, native, generator(seed, "binarize", epoch, device=images.device))


@dataclass(frozen=True)
class Levels:
    """One split, seen at K levels.

    `images` are the levels themselves, except where each epoch draws its own (`redrawn`): there they are
    the native levels to draw from. `of_epoch` is right in both cases.
    """

    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor  # int64 [N]
    levels: int
    native: int
    redrawn: bool = False

    def of_epoch(self, seed: int, epoch: int) -> Tensor:
        """Return uint8 levels [N, C, H, W], 0 .. K - 1, that training with `seed` sees in `epoch`."""
        return draw(self.images, self.native, seed, epoch) if self.redrawn else self.images

    def to(self, device: torch.device | str) -> Levels:
        """Return the same on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    @property
    def sha256(self) -> str:
        """Hash of the bytes of `images`: that of the fixed draw, where there is one."""
        return hashlib.sha256(self.images.cpu().contiguous().numpy().tobytes()).hexdigest()


def levels_of(prepared: PreparedDataset, split: str, levels: int, binarize: Binarize = "threshold") -> Levels:
    """Read `split` of `prepared` at K levels.

    Args:
        prepared: the data set.
        split: ``train``, ``validation`` or ``test``; no other split is read.
        levels: K.
        binarize: ``threshold`` quantises (`quantise`). ``stochastic``, for K = 2, draws each pixel: for
            validation and test one draw that is the same for every run, for train a fresh one an epoch.

    Raises:
        SettingError: if these levels, or this way to them, cannot be had.
    """
    check_levels(prepared.native_levels, levels, binarize)
    images, labels = prepared.split(split)
    native = prepared.native_levels
    if binarize == "threshold":
        return Levels(quantise(images, native, levels), labels, levels, native)
    if split == "train":
        return Levels(images, labels, levels, native, redrawn=True)
    return Levels(_fixed_draw(images, native, prepared.sha256, split), labels, levels, native)


def check_levels(native: int, levels: int, binarize: Binarize) -> None:
    """Refuse levels, or a way to them, that data of `native` levels cannot give (SettingError)."""
    quantise(torch.empty(0, dtype=torch.uint8), native, levels)
    ways = get_args(Binarize)
    require(binarize in ways, "binarize", binarize, "unknown", ways)
    two = binarize == "threshold" or levels == 2
    require(two, "binarize", binarize, f"draws binary pixels, so it needs levels=2, not {levels}")


def _fixed_draw(images: Tensor, native: int, sha256: str, split: str) -> Tensor:
    # Made on the CPU whatever the device of the run, so that every run is scored on the same pixels.
    return binarize(images, native, generator(0, "binarize", sha256, split))
