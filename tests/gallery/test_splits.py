"""Scores on images that were trained on, or that chose the epoch."""

from __future__ import annotations

import pytest

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow
from vae_likelihoods.gallery.splits import wrong_split


@pytest.mark.slow
def test_both_are_optimistic_and_the_same_every_time(
    images: Images, trained_rows: dict[str, GalleryRow]
) -> None:
    row = trained_rows["wrong_split"]
    overfitted, chosen = row.findings
    assert overfitted.wrong < overfitted.right - 0.03
    assert chosen.right < overfitted.right  # stopping in time helps
    assert chosen.wrong < chosen.right
    assert wrong_split(images, 0) == row
