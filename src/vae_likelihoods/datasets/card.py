"""The data card: what a prepared data set is, in numbers and in a text that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.datasets.arrays import Split
from vae_likelihoods.datasets.grouping import digests
from vae_likelihoods.datasets.large_arrays import at_once
from vae_likelihoods.datasets.near_copies import ALIKE
from vae_likelihoods.datasets.overlaps import Overlap, Pair, overlaps_of

CONSTANT = 0.999
"""The share of images with one level above which a pixel counts as nearly constant."""

_SELDOM = ("repeated_in", "asked", "equal_channels", "pairs", "cut_by")  # facts that few data sets have
_REMEDIES = {  # for near copies, by what decides which images are in one split
    "": ": remove them, or say what belongs together (groups)",
    "groups": ", and the groups that were given do not join them: remove them, or give both one group",
    "splits": ", and the splits that were given part them: remove them, or put both into one split",
}
_AT_ONCE = 2**24  # pixels that are counted at once


@dataclass(frozen=True)
class Card:
    """The facts of a data set.

    Attributes:
        counts: images in each split.
        level_counts: how often each level occurs, in all splits, [native_levels].
        nearly_constant: pixels (and channels) that have one level in nearly all train images.
        pixels: pixels times channels of an image.
        repeated: train images that are exact copies of an earlier one.
        overlaps: images that are in two splits, for each pair of them.
        notes: what was changed on the way, as the source says it.
        repeated_in: the same as `repeated`, for the other splits that have some.
        asked: of each split that is more than a tenth larger or smaller: how many images were asked for.
        equal_channels: whether all images have the same levels in all of several channels.
        pairs: the first of the images that are alike in two splits, if the source knows their names.
        cut_by: what the user gave that decides which images are in one split: groups or splits; else empty.
    """

    name: str
    shape: tuple[int, int, int]
    native_levels: int
    counts: dict[str, int]
    classes: dict[str, int]
    level_counts: list[int]
    nearly_constant: int
    pixels: int
    repeated: int
    overlaps: list[Overlap]
    notes: list[str]
    repeated_in: dict[str, int]
    asked: dict[str, int]
    equal_channels: bool
    pairs: list[Pair]
    cut_by: str

    @classmethod
    def of(
        cls,
        name: str,
        native_levels: int,
        splits: Mapping[str, Split],
        notes: Sequence[str] = (),
        cut_by: str = "",
    ) -> Card:
        """Measure the splits, train first; a part of the images is in memory at a time."""
        images = {split: each.data.images for split, each in splits.items()}
        train = images["train"]
        counted = {split: level_counts_of(each, native_levels) for split, each in images.items()}
        hashes = {split: digests(each) for split, each in images.items()}
        labels = splits["train"].labels
        repeated = {split: len(each) - len(np.unique(each)) for split, each in hashes.items()}
        classes = {} if labels is None or labels.ndim > 1 else _counts(labels)
        overlaps, pairs = overlaps_of(splits, hashes, native_levels)
        return cls(
            name,
            tuple(train.shape[1:]),
            native_levels,
            {split: len(each) for split, each in images.items()},
            classes,
            np.sum([levels for levels, _ in counted.values()], axis=0).tolist(),
            int((counted["train"][1] >= CONSTANT * len(train)).sum()),
            int(np.prod(train.shape[1:])),
            repeated.pop("train"),
            overlaps,
            list(notes),
            {split: count for split, count in repeated.items() if count},
            {name: split.asked for name, split in splits.items() if split.asked and _misses(split)},
            all(_has_equal_channels(each) for each in images.values()),
            pairs,
            cut_by,
        )

    @property
    def at_the_ends(self) -> tuple[float, float]:
        """The share of pixels that have the lowest level, and the highest."""
        total = sum(self.level_counts)
        return self.level_counts[0] / total, self.level_counts[-1] / total

    @property
    def distinct_levels(self) -> int:
        """How many levels occur."""
        return sum(count > 0 for count in self.level_counts)

    def facts(self) -> dict[str, Any]:
        """Return the facts as plain values for JSON; those that are seldom only where they are."""
        facts = {key: value for key, value in asdict(self).items() if key not in _SELDOM or value}
        return {**facts, "shape": list(self.shape)}

    def oddities(self, where: str = "see data_card.md") -> list[str]:
        """Return a sentence for each fact that may lead to a wrong answer, which says what to do.

        `where` says where pairs of images are listed, if there are some.
        """
        return [*self._odd_sizes(), *self._odd_levels(), *self._odd_copies(where)]

    def _odd_sizes(self) -> list[str]:
        missed = [
            f"{split} has {self.counts[split]:,} images, and {asked:,} were asked for"
            for split, asked in self.asked.items()
        ]
        return [f"{'; '.join(missed)}: groups, and copies, cannot be divided"] if missed else []

    def _odd_levels(self) -> list[str]:
        used = [level for level, count in enumerate(self.level_counts) if count]
        most = int(np.argmax(self.level_counts))
        share = self.level_counts[most] / sum(self.level_counts)
        texts = []
        if len(used) < self.native_levels / 2:
            which = (
                f"{len(used)} levels, from {used[0]} to {used[-1]}," if len(used) > 1 else f"level {used[0]}"
            )
            texts = [
                f"of {self.native_levels} levels only {which} occur{'s' * (len(used) == 1)}; check "
                "native_levels and how the images were scaled, because unused levels are cheap to code"
            ]
        if share > CONSTANT:
            texts.append(
                f"the images are nearly constant: {100 * share:.4g} % of the pixels have level {most}"
            )
        if self.equal_channels:
            texts.append(
                "all images have the same levels in all channels: they are grey, and one channel is enough "
                "(of a folder: colour=grey)"
            )
        return texts

    def _odd_copies(self, where: str) -> list[str]:
        exact = [each for each in self.overlaps if each.copies]
        found = [
            f"{each.copies} of {each.images} images of {each.later} are in {each.earlier} too"
            for each in exact
        ]
        remedy = "remove repeated images from the source" + self._listed(True, where)
        texts = [f"{'; '.join(found)}: {remedy}"] if found else []
        many = {split: count for split, count in self.repeated_in.items() if 10 * count > self.counts[split]}
        found = [f"{count:,} of {self.counts[split]:,} images of {split}" for split, count in many.items()]
        if found:
            texts.append(
                f"{'; '.join(found)} are copies of another one there, so few images decide the score"
            )
        close = [each for each in self.overlaps if each.near]
        found = [f"{each.near} of {each.compared} of {each.later} and {each.earlier}" for each in close]
        if found:
            texts.append(
                f"near copies, which look alike though their levels differ: {'; '.join(found)}; a model may "
                f"have seen what it is scored on{_REMEDIES[self.cut_by]}{self._listed(False, where)}"
            )
        return texts

    def _listed(self, exact: bool, where: str) -> str:
        return f"; {where}" * any(pair.exact == exact for pair in self.pairs)

    def text(self) -> str:
        """Return the card as Markdown."""
        lowest, highest = self.at_the_ends
        shape = " x ".join(map(str, self.shape))
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items())
        sizes = sorted(self.classes.values())
        classes = f"{len(sizes)}, of {sizes[0]:,} to {sizes[-1]:,}" if sizes else "none"
        rows = [
            ("images", counts),
            ("channels x height x width", shape),
            ("levels", f"{self.native_levels}, of which {self.distinct_levels} occur"),
            ("how often levels occur", _bars(self.level_counts)),
            ("pixels at the lowest and highest level", f"{100 * lowest:.3g} % and {100 * highest:.3g} %"),
            ("nearly constant pixels", f"{self.nearly_constant:,} of {self.pixels:,}"),
            ("classes, of so many train images", classes),
            ("copies within train", f"{self.repeated:,}"),
            *((f"copies within {split}", f"{count:,}") for split, count in self.repeated_in.items()),
            *(
                (
                    f"{each.later} in {each.earlier} too",
                    f"{each.copies:,} copies, {each.near:,} near copies (of {each.compared:,} compared)",
                )
                for each in self.overlaps
            ),
        ]
        table = "\n".join(f"| {name} | {value} |" for name, value in rows)
        listed = "".join(f"\n* {escaped(note)}" for note in [*self.notes, *self.oddities("listed below")])
        return (
            f"# {escaped(self.name)}\n\n| | |\n|---|---|\n{table}\n"
            + (f"\nWhat was changed, and what to look at:\n{listed}\n" if listed else "")
            + self._listed_pairs()
            + f"\nA pixel is nearly constant if {100 * CONSTANT:g} % of the train images have one level "
            f"there. Images whose grey thumbnails correlate by {ALIKE:g} or more are near copies.\n"
        )

    def _listed_pairs(self) -> str:
        """Return the pairs as a block of code, in which names mean nothing and can be copied."""
        if not self.pairs:
            return ""
        copies = sum(pair.exact for pair in self.pairs)
        counts = [
            f"{listed} of {found:,} {what}"
            for listed, found, what in (
                (copies, sum(each.copies for each in self.overlaps), "copies"),
                (len(self.pairs) - copies, sum(each.near for each in self.overlaps), "near copies"),
            )
            if listed
        ]
        lines = "\n".join(pair.text for pair in self.pairs)
        return f"\nImages that are alike in two splits ({', '.join(counts)}):\n\n```text\n{lines}\n```\n"


def escaped(text: str) -> str:
    """Return a text in which Markdown and HTML mean nothing: names of files and classes are anybody's."""
    return "".join(
        f"&#{ord(each)};" if each in "<>&|`*_[]()#!\\~" else each for each in " ".join(text.split())
    )


def _misses(split: Split) -> bool:
    """Return whether a split has another size than was asked for, by more than a tenth."""
    return split.asked is not None and 10 * abs(split.count - split.asked) > split.asked


def _has_equal_channels(images: NDArray[np.uint8]) -> bool:
    count = at_once(images.shape[1:])
    blocks = (images[first : first + count] for first in range(0, len(images), count))
    return images.shape[1] > 1 and all(bool((block[:, :1] == block).all()) for block in blocks)


def _bars(counts: Sequence[int]) -> str:
    """Return bars for the levels, or for up to 32 ranges of them, the lowest level on the left."""
    sums = [int(part.sum()) for part in np.array_split(np.asarray(counts), min(len(counts), 32))]
    steps = " ▁▂▃▄▅▆▇█"
    return "".join(steps[-(-(len(steps) - 1) * each // max(sums))] for each in sums)


def _counts(labels: NDArray[Any]) -> dict[str, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}


def level_counts_of(
    images: NDArray[np.uint8], native_levels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how often each level occurs in images [N, C, H, W].

    Returns:
        The counts, [native_levels], and at each pixel that of its commonest level, [C * H * W].
    """
    flat = images.reshape(len(images), -1)
    levels, most = np.zeros(native_levels, np.int64), np.zeros(flat.shape[1], np.int64)
    pixels_at_once, images_at_once = (
        max(1, _AT_ONCE // native_levels),
        max(1, _AT_ONCE // flat.shape[1]),
    )
    for start in range(0, flat.shape[1], pixels_at_once):
        pixels = slice(start, start + pixels_at_once)
        first = np.arange(len(most[pixels])) * native_levels
        counts = np.zeros(len(first) * native_levels, np.int64)
        for image in range(0, len(flat), images_at_once):
            part = flat[image : image + images_at_once, pixels]
            counts += np.bincount((part + first).ravel(), minlength=len(counts))
        by_pixel = counts.reshape(len(first), native_levels)
        levels += by_pixel.sum(0)
        most[pixels] = by_pixel.max(1)
    return levels, most
