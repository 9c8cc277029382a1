"""Turn native levels into the K levels of a study, by pure functions of images and derived generators."""

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
    """Return ``floor(k K / native)``: K bins of native levels, as equal as possible.

    Args:
        images: native levels k, uint8 of any shape, 0 .. native - 1.
        native: number of native levels.
        levels: K, from 2 to `native`; with K = `native` the images are returned as they are.

    Raises:
        SettingError: if the data cannot have K levels, or the images are of another type.

    Example:
        >>> quantise(torch.tensor([0, 127, 128, 255], dtype=torch.uint8), native=256, levels=2).tolist()
        [0, 0, 1, 1]
    """
    whole = isinstance(levels, int) and not isinstance(levels, bool)
    reason = f"must be 2 to {native}, because the data have {native} levels"
    require(whole and 2 <= levels <= native, "levels", levels, reason)
    _require_uint8(images)
    if levels == native:
        return images
    return (images.to(torch.int32) * levels).div_(native, rounding_mode="floor").to(torch.uint8)


def binarize(images: Tensor, native: int, generator: torch.Generator) -> Tensor:
    """Return a draw of binary pixels, on with probability ``k / (native - 1)``; uint8 of the same shape.

    The usual dynamic binarisation (Salakhutdinov and Murray 2008, https://doi.org/10.1145/1390156.1390266).
    A uniform integer below native - 1 is below k with exactly that probability, and takes one byte.

    Args:
        images: native levels k, uint8, 0 .. native - 1, on the generator's device.
        native: number of native levels.
        generator: the source of randomness.

    Raises:
        SettingError: the images are of another type.
    """
    _require_uint8(images)
    threshold = torch.randint(
        native - 1, images.shape, generator=generator, device=images.device, dtype=torch.uint8
    )
    return (threshold < images).to(torch.uint8)


def draw(images: Tensor, native: int, seed: int, epoch: int) -> Tensor:
    """Return the binary pixels on which `seed` trains in `epoch`, on the device of `images`."""
    return binarize(images, native, generator(seed, "binarize", epoch, device=images.device))


@dataclass(frozen=True)
class Levels:
    """One split at K levels.

    `images` are the levels themselves. If each epoch draws its own levels (`redrawn`), they are the native
    levels to draw from. `of_epoch` returns the levels in both cases.
    """

    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor | None  # int64: classes [N], or factors [N, F]; None: the data set has no labels
    levels: int
    native: int
    redrawn: bool = False

    def of_epoch(self, seed: int, epoch: int) -> Tensor:
        """Return the uint8 levels [N, C, H, W], 0 .. K - 1, on which `seed` trains in `epoch`."""
        return draw(self.images, self.native, seed, epoch) if self.redrawn else self.images

    def some(self, count: int | None) -> Levels:
        """Return `count` of the images, chosen at random: fewer are always among more. None: all of them."""
        if count is None:
            return self
        order = torch.randperm(len(self.images), generator=generator(0, "images"))
        rows = order[:count].sort().values.to(self.images.device)
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, images=self.images[rows], labels=labels)

    def to(self, device: torch.device | str) -> Levels:
        """Return the same split on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)

    @property
    def sha256(self) -> str:
        """Hash of the bytes of `images`, which are the fixed draw where there is one."""
        return hashlib.sha256(self.images.cpu().contiguous().numpy().tobytes()).hexdigest()


def levels_of(prepared: PreparedDataset, split: str, levels: int, binarize: Binarize = "threshold") -> Levels:
    """Read `split` of `prepared` at K levels.

    Args:
        prepared: the data set.
        split: ``train``, ``validation`` or ``test``; the other splits are not read.
        levels: K.
        binarize: ``threshold`` quantises (`quantise`). ``stochastic``, for K = 2, draws each pixel: for
            validation and test one draw that is the same in every run, for train a new draw each epoch.

    Raises:
        SettingError: if the data cannot have these levels, or cannot be binarised like this; if images to
            train on would become a single level, though they are not constant.
    """
    check_levels(prepared.native_levels, levels, binarize)
    images, labels = prepared.split(split)
    native = prepared.native_levels
    if binarize == "threshold":
        seen = quantise(images, native, levels)
        if split == "train":
            _require_contrast(prepared.name, images, seen, levels)
        return Levels(seen, labels, levels, native)
    if split == "train":
        return Levels(images, labels, levels, native, redrawn=True)
    return Levels(_fixed_draw(images, native, prepared.sha256, split), labels, levels, native)


def check_levels(native: int, levels: int, binarize: Binarize) -> None:
    """Raise SettingError if data of `native` levels cannot have these levels, or not like this."""
    quantise(torch.empty(0, dtype=torch.uint8), native, levels)
    choices = get_args(Binarize)
    require(binarize in choices, "binarize", binarize, "unknown", choices)
    possible = binarize == "threshold" or levels == 2
    require(possible, "binarize", binarize, f"draws binary pixels, so it needs levels=2, not {levels}")


def _require_uint8(images: Tensor) -> None:
    reason = "native levels are uint8; scale images in [0, 1] to them first"
    require(images.dtype == torch.uint8, "images", images.dtype, reason)


def _require_contrast(name: str, images: Tensor, seen: Tensor, levels: int) -> None:
    """Refuse levels at which images that differ are all the same, and so can be coded in no bits at all."""
    (lowest, highest), (least, most) = ((int(end) for end in each.aminmax()) for each in (images, seen))
    reason = (
        f"the images of {name}, of levels {lowest} to {highest}, would all have the level {least}; use more"
    )
    require(lowest == highest or least < most, "levels", levels, reason)


def _fixed_draw(images: Tensor, native: int, sha256: str, split: str) -> Tensor:
    # Drawn on the CPU whatever the device of the run, so that every run is scored on the same pixels.
    return binarize(images, native, generator(0, "binarize", sha256, split))
