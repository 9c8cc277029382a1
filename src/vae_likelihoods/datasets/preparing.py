"""Write ``data/prepared/<dataset>/``: arrays, a manifest with hashes, a data card and a contact sheet."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.base import KEY, Source
from vae_likelihoods.datasets.card import Card
from vae_likelihoods.datasets.checking import check_arrays, check_names
from vae_likelihoods.datasets.contact_sheet import write_contact_sheet
from vae_likelihoods.datasets.large_arrays import at_once, require_room, write_blocks
from vae_likelihoods.datasets.manifest import SPLITS, manifest_sha256
from vae_likelihoods.datasets.pictures import DECODING
from vae_likelihoods.errors import under
from vae_likelihoods.files import folder_aside, sha256, write_json, write_text

log = logging.getLogger(__name__)


def prepare(source: Source, raw: Path, prepared: Path) -> dict[str, Any]:
    """Write the splits of `source` to `prepared`, all of them or nothing; return the manifest.

    The same raw files give the same prepared bytes. What was changed, and what is odd about the images, is
    logged as a warning. Images are held block by block (`large_arrays`).

    Raises:
        SettingError: if a file in `raw` is missing or damaged, a split cannot have its size, or the arrays
            are no data set (`checking`).
    """
    with under(KEY):
        cut = source.splits(raw)
        # Checked again, because a source may cut its splits itself.
        check_names(source.name, cut, [SPLITS])
        check_arrays(source.name, source.native_levels, _parts(cut))
        size = sum(split.count * math.prod(split.arrays.images.shape[1:]) for split in cut.values())
        require_room("", source.name, prepared, size)
        notes = source.notes(raw)
    with folder_aside(prepared) as folder:
        splits = {name: _written(folder, name, split) for name, split in cut.items()}
        ordered = {name: splits[name] for name in SPLITS}
        card = Card.of(source.name, source.native_levels, ordered, notes, source.cut_by)
        shape = list(splits["train"].arrays.images.shape[1:])  # [C, H, W]
        manifest = {
            "name": source.name,
            "native_levels": source.native_levels,
            "shape": shape,
            "split_seed": source.split_seed,
            "splits": {name: _description(folder, name, split) for name, split in splits.items()},
        }
        manifest["sha256"] = manifest_sha256(manifest)
        write_json(folder / "manifest.json", manifest)
        write_json(folder / "data_card.json", card.facts())
        write_text(folder / "data_card.md", card.text())
        if (decoding := source.decoding(shape[0])) is not None:
            write_json(folder / DECODING, decoding.plain())
        write_contact_sheet(folder / "contact_sheet.png", splits["train"].arrays, source.native_levels)
    for said in [*card.notes, *card.oddities()]:
        log.warning("%s: %s", source.name, said)
    return manifest


def _parts(splits: Mapping[str, Split]) -> dict[str, LabelledArrays]:
    """Return the arrays of which the splits are, each once."""
    parts: dict[str, LabelledArrays] = {}
    for name, split in splits.items():
        if all(split.arrays is not each for each in parts.values()):
            parts[name] = split.arrays
    return parts


def _written(folder: Path, name: str, split: Split) -> Split:
    """Write the arrays of a split; return it with its images mapped from the file."""
    images, labels = folder / f"{name}_images.npy", split.labels
    shape = split.arrays.images.shape[1:]
    write_blocks(images, shape, np.uint8, split.blocks(at_once(shape)))
    if labels is not None:
        labels = np.ascontiguousarray(labels.astype(np.int64))
        np.save(folder / f"{name}_labels.npy", labels, allow_pickle=False)
    written = np.load(images, mmap_mode="r", allow_pickle=False)
    arrays = LabelledArrays(written, labels, names=split.names)
    return replace(split, arrays=arrays, rows=None)


def _description(folder: Path, name: str, split: Split) -> dict[str, Any]:
    """Return what the manifest says of a split."""
    arrays = ["images"] if split.labels is None else ["images", "labels"]
    return {
        "count": split.count,
        **_labels_in_words(split.arrays),
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
