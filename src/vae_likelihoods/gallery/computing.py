"""The rows of the gallery that are asked for, computed on a prepared data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import require
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.rows import ROWS, GalleryEntry, computed
from vae_likelihoods.gallery.table import check_page, markdown, write_page


def gallery(dataset: str, names: Sequence[str], cheap: bool, seed: int, root: Path, page: Path | None) -> str:
    """Compute rows of the table and return it as Markdown; with `page`, also write it there.

    Args:
        dataset: a prepared data set.
        names: rows of the table; none: all of them.
        cheap: whether rows that train are left out.
        seed: everything random comes from it.
        root: the folder of data/.
        page: a page into which the table is also written; None: none.

    Raises:
        SettingError: if the data set is not prepared (says which commands prepare it), no row is left, or
            the page has no place for the table.
    """
    if page is not None:
        check_page(page)
    entries = entries_of(names, cheap)
    images = Images.of(PreparedDataset(root / "data" / "prepared" / dataset))
    rows = computed(entries, images, seed)
    table = markdown(tqdm(rows, desc="gallery", total=len(entries), unit="row", disable=None))
    if page is not None:
        write_page(page, table)
    return table


def entries_of(names: Sequence[str], cheap: bool) -> list[GalleryEntry]:
    """Return the entries with these names, or all; with `cheap` only those that train nothing.

    Raises:
        SettingError: if a name is unknown, or no entry is left.
    """
    choices = [entry.name for entry in ROWS]
    for name in names:
        require(name in choices, "rows", name, "there is no such row", choices)
    named = [entry for entry in ROWS if not names or entry.name in names]
    entries = [entry for entry in named if not (cheap and entry.trains)]
    require(len(entries) > 0, "rows", " ".join(names), "all of them train; leave out --cheap")
    return entries
