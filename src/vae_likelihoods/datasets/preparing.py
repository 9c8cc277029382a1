"""Write ``data/prepared/<dataset>/``: arrays, a manifest with their hashes, and a contact sheet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vae_likelihoods.datasets.base import KEY, Source, Split
from vae_likelihoods.datasets.contact_sheet import write_contact_sheet
from vae_likelihoods.datasets.manifest import manifest_sha256
from vae_likelihoods.errors import under
from vae_likelihoods.files import folder_aside, sha256, write_json


def prepare(source: Source, raw: Path, prepared: Path) -> dict[str, Any]:
    """Write the splits of `source` to `prepared`, all of them or nothing; return the manifest.

    The same raw files give the same prepared bytes.

    Raises:
        SettingError: if a file in `raw` is missing or damaged, or a split cannot have its size.
    """
    with under(KEY):
        splits = source.splits(raw)
    with folder_aside(prepared) as folder:
        descriptions = {name: _write_split(folder, name, split) for name, split in splits.items()}
        manifest = {
            "name": source.name,
            "native_levels": source.native_levels,
            "shape": list(splits["train"].data.images.shape[1:]),  # [C, H, W]
            "split_seed": source.split_seed,
            "splits": descriptions,
        }
        manifest["sha256"] = manifest_sha256(manifest)
        write_json(folder / "manifest.json", manifest)
        write_contact_sheet(folder / "contact_sheet.png", splits["train"].data, source.native_levels)
    return manifest


def _write_split(folder: Path, name: str, split: Split) -> dict[str, Any]:
    """Write the arrays of a split; return their description for the manifest."""
    for what, array in (("images", split.data.images), ("labels", split.data.labels)):
        np.save(folder / f"{name}_{what}.npy", np.ascontiguousarray(array), allow_pickle=False)
    classes, counts = np.unique(split.data.labels, return_counts=True)
    return {
        "count": len(split.data.labels),
        "counts_per_class": {str(label): int(count) for label, count in zip(classes, counts, strict=True)},
        "taken_from": split.taken_from,
        "indices_sha256": hashlib.sha256(split.indices.astype("<i8").tobytes()).hexdigest(),
        "images_sha256": sha256(folder / f"{name}_images.npy"),
        "labels_sha256": sha256(folder / f"{name}_labels.npy"),
    }
