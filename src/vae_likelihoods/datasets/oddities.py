"""What is odd about the images of a data set, though a study of them is possible."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from vae_likelihoods.datasets.grouping import digests

_CONSTANT = 0.999  # the share of pixels with one level above which images count as nearly constant
_AT_ONCE = 2**24  # pixels that are counted at once
_USED = 0.5  # the share of the levels below which images count as using few

Images = np.ndarray[Any, Any]


def oddities(native_levels: int, splits: Mapping[str, Images]) -> list[str]:
    """Return a sentence for each oddity, which says what to do.

    Args:
        native_levels: how many values a pixel can take.
        splits: uint8 images [N, C, H, W] of train, validation and test.
    """
    counts = sum(level_counts(images, native_levels) for images in splits.values())
    return [*_few_levels(native_levels, np.asarray(counts)), *_repeated(splits)]


def level_counts(images: Images, native_levels: int) -> Images:
    """Return how often each level occurs, [native_levels]; a part of the images is in memory at a time."""
    parts = np.array_split(images, max(1, images.size // _AT_ONCE))
    counts: Images = np.sum([np.bincount(part.ravel(), minlength=native_levels) for part in parts], axis=0)
    return counts


def _few_levels(native_levels: int, counts: Images) -> list[str]:
    """Judge how often each level occurs, [native_levels]."""
    (used,) = counts.nonzero()
    lowest, highest, most = int(used[0]), int(used[-1]), int(counts.argmax())
    share = float(counts[most] / counts.sum())
    texts = []
    if len(used) < _USED * native_levels:
        which = f"level {lowest}" if len(used) == 1 else f"{len(used)} levels, from {lowest} to {highest},"
        texts = [
            f"of {native_levels} levels only {which} {'occurs' if len(used) == 1 else 'occur'}; check "
            "native_levels and how the images were scaled, because unused levels are cheap to code"
        ]
    if share > _CONSTANT:
        texts.append(f"the images are nearly constant: {100 * share:.4g} % of the pixels have level {most}")
    return texts


def _repeated(splits: Mapping[str, Images]) -> list[str]:
    """Name images that are in two splits, which a model may have seen before it is scored on them."""
    contents = {split: digests(images) for split, images in splits.items()}
    found = [
        f"{repeats} of {len(contents[later])} images of {later} are in {earlier} too"
        for earlier, later in combinations(splits, 2)
        if (repeats := int(np.isin(contents[later], contents[earlier]).sum()))
    ]
    return [f"{'; '.join(found)}: remove repeated images from the source"] if found else []
