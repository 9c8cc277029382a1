"""Every row of the gallery, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from vae_likelihoods.gallery.cross_entropy import cross_entropy_on_grey, training_on_cross_entropy
from vae_likelihoods.gallery.gaussian import missing_half, power_outside_log
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.importance import weights_from_loss
from vae_likelihoods.gallery.logistic import last_bin, no_end_bins
from vae_likelihoods.gallery.quoting import divided_by_latents, no_bin_width, padded_pixels
from vae_likelihoods.gallery.record import GalleryRow
from vae_likelihoods.gallery.reduction import mean_reduction
from vae_likelihoods.gallery.sigma import sigma_from_test
from vae_likelihoods.gallery.splits import wrong_split


class GalleryEntry(NamedTuple):
    """A function from images and a seed to a row, and whether it trains."""

    measure: Callable[[Images, int], GalleryRow]
    trains: bool

    @property
    def name(self) -> str:
        """The name of the row."""
        return self.measure.__name__


ROWS = (
    GalleryEntry(mean_reduction, trains=True),
    GalleryEntry(missing_half, trains=False),
    GalleryEntry(power_outside_log, trains=False),
    GalleryEntry(cross_entropy_on_grey, trains=False),
    GalleryEntry(training_on_cross_entropy, trains=True),
    GalleryEntry(last_bin, trains=False),
    GalleryEntry(no_end_bins, trains=False),
    GalleryEntry(no_bin_width, trains=False),
    GalleryEntry(divided_by_latents, trains=False),
    GalleryEntry(padded_pixels, trains=False),
    GalleryEntry(weights_from_loss, trains=False),
    GalleryEntry(sigma_from_test, trains=False),
    GalleryEntry(wrong_split, trains=True),
)


def computed(
    entries: Iterable[GalleryEntry], images: Images, seed: int
) -> Iterator[tuple[GalleryEntry, GalleryRow]]:
    """Yield the rows of `entries` one by one; the numbers are the same every time."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    for entry in entries:
        yield entry, entry.measure(images, seed)
