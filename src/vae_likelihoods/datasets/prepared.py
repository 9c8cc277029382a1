"""Open what the prepare stage wrote; a split is read only when it is asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_likelihoods.datasets.manifest import SPLITS, manifest_sha256
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT, sha256


class LabelledImages(NamedTuple):
    """One split at native levels."""

    images: Tensor  # uint8 [N, C, H, W]
    labels: Tensor | None  # int64: classes [N], or factors [N, F]; None: the data set has no labels


class PreparedDataset:
    """A folder ``data/prepared/<dataset>/``; opening it reads only the manifest.

    Args:
        folder: the prepared folder.
        name: the data set that is expected in it; by default the folder's name.

    Attributes:
        manifest: what the prepare stage recorded.
        name: name of the data set.
        shape: channels, height and width of an image.
        native_levels: number of values a pixel can take.
        sha256: hash over all splits.

    Raises:
        SettingError: if `folder` has no such data set; names the commands that prepare it.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder, self.name = Path(folder), name or Path(folder).name
        self.manifest = self._read_manifest()
        channels, height, width = self.manifest["shape"]
        self.shape: tuple[int, int, int] = (channels, height, width)
        self.native_levels: int = self.manifest["native_levels"]
        self.sha256: str = self.manifest["sha256"]

    def count(self, split: str) -> int:
        """Return the number of images in `split`, from the manifest."""
        return int(self._description(split)["count"])

    def split(self, split: str) -> LabelledImages:
        """Read one of the splits train, validation and test.

        Raises:
            SettingError: names a file that is missing or was changed since it was prepared; or its images are
                no levels.
        """
        arrays = {
            # Mapped, so that a CPU reads only what is used; "c": torch warns of arrays that it cannot write.
            what: torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
            for what, path in self._checked(split).items()
        }
        if arrays["images"].dtype != torch.uint8:  # older versions took images of any type
            raise self._unusable(f"its images are {arrays['images'].dtype}, no levels in uint8")
        return LabelledImages(arrays["images"], arrays.get("labels"))

    def verify(self) -> None:
        """Hash every array and compare it with the manifest.

        Raises:
            SettingError: names the first file that is missing or was changed.
        """
        for split in SPLITS:
            self._checked(split)

    def _checked(self, split: str) -> dict[str, Path]:
        """Return the files of a split, whose bytes are those that the manifest describes."""
        description = self._description(split)
        paths = {
            what: self.folder / f"{split}_{what}.npy"
            for what in ("images", "labels")
            if f"{what}_sha256" in description
        }
        for what, path in paths.items():
            if not path.is_file():
                raise self._unusable(f"{path} is missing")
            if sha256(path) != description[f"{what}_sha256"]:
                raise self._unusable(f"{path} was changed or is damaged")
        return paths

    def _description(self, split: str) -> dict[str, Any]:
        require(split in SPLITS, "split", split, "there is no such split", SPLITS)
        description: dict[str, Any] = self.manifest["splits"][split]
        return description

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        if not path.is_file():
            raise self._unusable(f"it was not prepared: there is no {path}")
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            valid = manifest["sha256"] == manifest_sha256(manifest) and manifest["name"] == self.name
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise self._unusable(f"{path} is damaged or belongs to another data set")
        return manifest

    def _unusable(self, reason: str) -> SettingError:
        stages = [
            f".venv/bin/python pipelines/{stage}.py dataset={self.name}" for stage in ("download", "prepare")
        ]
        if (folder := self.folder.resolve()) != PROJECT / "data" / "prepared" / self.name:
            plain = re.fullmatch(r"[\w./-]+", str(folder), re.ASCII)
            stages[-1] += f" prepared_folder={folder}" if plain else f""" 'prepared_folder="{folder}"'"""
        commands = " && ".join(stages)
        return SettingError("dataset", self.name, f"{reason}; run `{commands}`")
