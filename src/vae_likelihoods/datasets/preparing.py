"""Write ``data/prepared/<dataset>/``: arrays, a manifest with hashes, a data card and a contact sheet."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.base import KEY, Source
from vae_likelihoods.datasets.card import Card
from vae_likelihoods.datasets.checking import check_arrays, check_names
from vae_likelihoods.datasets.contact_sheet import write_contact_sheet
from vae_likelihoods.datasets.manifest import SPLITS, manifest_sha256
from vae_likelihoods.datasets.pictures import DECODING
from vae_likelihoods.errors import under
from vae_likelihoods.files import folder_aside, sha256, write_json, write_text

log = logging.getLogger(__name__)


def prepare(source: Source, raw: Path, prepared: Path) -> dict[str, Any]:
    """Write the splits of `source` to `prepared`, all of them or nothing; return the manifest.

    The same raw files give the same prepared bytes. What is odd about the images is logged as a warning.

    Raises:
        SettingError: if a file in `raw` is missing or damaged, a split cannot have its size, or the arrays
            are no data set (`checking`).
    """
    with under(KEY):
        splits = source.splits(raw)
        # Checked again, because a source may cut its splits itself.
        check_names(source.name, splits, [SPLITS])
        check_arrays(source.name, source.native_levels, {name: split.data for name, split in splits.items()})
        card = Card.of(
            source.name, source.native_levels, {name: splits[name] for name in SPLITS}, source.notes(raw)
        )
    for oddity in card.oddities():
        log.warning("%s: %s", source.name, oddity)
    with folder_aside(prepared) as folder:
        descriptions = {name: _write_split(folder, name, split) for name, split in splits.items()}
        shape = list(splits["train"].data.images.shape[1:])  # [C, H, W]
        manifest = {
            "name": source.name,
            "native_levels": source.native_levels,
            "shape": shape,
            "split_seed": source.split_seed,
            "splits": descriptions,
        }
        manifest["sha256"] = manifest_sha256(manifest)
        write_json(folder / "manifest.json", manifest)
        write_json(folder / "data_card.json", card.facts())
        write_text(folder / "data_card.md", card.text())
        if (decoding := source.decoding(shape[0])) is not None:
            write_json(folder / DECODING, decoding.plain())
        write_contact_sheet(folder / "contact_sheet.png", splits["train"].data, source.native_levels)
    return manifest


def _write_split(folder: Path, name: str, split: Split) -> dict[str, Any]:
    """Write the arrays of a split; return their description for the manifest."""
    images, labels = split.data.images, split.data.labels
    arrays = {"images": images} if labels is None else {"images": images, "labels": labels.astype(np.int64)}
    for what, array in arrays.items():
        np.save(folder / f"{name}_{what}.npy", np.ascontiguousarray(array), allow_pickle=False)
    return {
        "count": len(images),
        **_labels_in_words(split.data),
        "taken_from": split.taken_from,
        "indices_sha256": hashlib.sha256(np.asarray(split.indices, "<i8").tobytes()).hexdigest(),
        **{f"{what}_sha256": sha256(folder / f"{name}_{what}.npy") for what in arrays},
    }


def _labels_in_words(data: LabelledArrays) -> dict[str, Any]:
    """Return how many images each class has, or how many values each factor; nothing without labels."""
    if data.labels is None:
        return {}
    if data.labels.ndim > 1:
        return {"values_per_factor": [len(np.unique(factor)) for factor in data.labels.T]}
    classes, counts = np.unique(data.labels, return_counts=True)
    return {
        "counts_per_class": {str(label): int(count) for label, count in zip(classes, counts, strict=True)}
    }
