"""The images of an answer: their data set, written for them, and read by it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from vae_likelihoods.datasets.base import build
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError, require, under
from vae_likelihoods.files import PROJECT, write_json, write_text
from vae_likelihoods.search.request import Request


class RequestImages:
    """The data set of a request.

    Args:
        request: whose images they are.
    """

    def __init__(self, request: Request) -> None:
        self.request, self.name, self.root = request, request.name, request.root
        self._written: Path | None = None

    @property
    def folder(self) -> Path:
        """Where they lie when they are prepared."""
        return self.root / "data" / "prepared" / self.name

    def prepared(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Read the images, unless they are the same as before; return the facts of their data card.

        Raises:
            SettingError: if they cannot be read, or another data set has their name.
        """
        config, raw = self._dataset(), self.root / "data" / "raw" / self.name
        source = build(OmegaConf.create(config))
        raw.mkdir(parents=True, exist_ok=True)
        with under("dataset"):
            source.download(raw)
        made, wanted = self.root / "logs" / "prepared" / f"{self.name}.json", _state_of(raw)
        there = json.loads(made.read_text(encoding="utf-8")) if made.is_file() else None
        if there != wanted or not (self.folder / "data_card.json").is_file():
            say("preparing the images")
            prepare(source, raw, self.folder)
            write_json(made, wanted)
        card: dict[str, Any] = json.loads((self.folder / "data_card.json").read_text(encoding="utf-8"))
        return card

    def _dataset(self) -> dict[str, Any]:
        """Write the YAML of the data set, unless it is there; return what it says."""
        request, kind = self.request, "folder" if self.request.source.is_dir() else "arrays"
        config: Any = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf" / "dataset" / f"{kind}.yaml"))
        given: dict[str, Any] = {"name": self.name, "path": str(request.source.absolute())}
        if kind == "folder":
            given |= {"size": request.size, "colour": request.colour}
        else:
            reason = "is for folders of image files; arrays have their size"
            require(request.size is None and request.colour == "auto", "--size", request.size, reason)
            if request.levels is not None:
                given["native_levels"] = request.levels
        config |= given | _settings(request.words[0], {key for key in config if key[0] != "_"} - set(given))
        path = self.root / "conf" / "dataset" / f"{self.name}.yaml"
        self._written = None if path.exists() else path
        if path.is_file():
            there = yaml.safe_load(path.read_text(encoding="utf-8"))
            reason = f"{path} is there, and says otherwise; take another name"
            require(there == config, "--study" if request.study else "--out", self.name, reason)
        else:
            head = f"# Written by `vae-likelihoods answer {shlex.quote(str(request.source))}`.\n"
            write_text(path, head + yaml.safe_dump(config, sort_keys=False))
        return dict(config)

    def withdraw(self) -> None:
        """Remove the YAML of a data set that was written for an answer that cannot be."""
        if self._written is not None:
            self._written.unlink(missing_ok=True)


def _settings(words: Sequence[str], keys: set[str]) -> dict[str, Any]:
    """Return the values of `KEY=VALUE` words, by key.

    Raises:
        SettingError: a word is none, or its key is not one of `keys`.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        require(key in keys, f"dataset.{key}", value, "cannot be set here", sorted(keys))
        try:
            (override,) = OverridesParser.create().parse_overrides([word])
            require(not override.is_sweep_override(), f"dataset.{key}", value, "must be one value")
            found[key] = override.value()
        except HydraException as error:
            reason = f"cannot be read: {' '.join(str(error).split())}"
            raise SettingError(f"dataset.{key}", value, reason) from None
    return found


def _state_of(folder: Path) -> dict[str, list[int]]:
    """Return the size and the time of the last change of every file in a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, path.stat().st_mtime_ns] for path in files
    }
