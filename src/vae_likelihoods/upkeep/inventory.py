"""The entries of the store: their kind, name, state, age and size."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vae_likelihoods.cells.identity import content_in, key_of, without_modules
from vae_likelihoods.files import PROJECT
from vae_likelihoods.likelihoods.base import SEARCH
from vae_likelihoods.store.entry import IDENTITY, LOCK, Entry

KEY = re.compile(r"[0-9a-f]{64}")
SHORT = 12  # number of digits of a key that are shown


@dataclass(frozen=True)
class Stored:
    """One entry of the store. Its files are read when they are first needed, and only once."""

    entry: Entry

    @property
    def key(self) -> str:
        """The entry's key."""
        return self.entry.folder.name

    @cached_property
    def _recorded(self) -> dict[str, Any]:
        try:
            record = json.loads((self.entry.folder / IDENTITY).read_text())
            identity = content_in(record)
        except (OSError, ValueError, AttributeError):
            return {}
        return record if key_of(identity) == self.key else {}

    @property
    def identity(self) -> dict[str, Any]:
        """The data from which the key is computed; empty if they are not recorded or do not give this key."""
        return content_in(self._recorded)

    @property
    def definitions(self) -> dict[str, str] | None:
        """The hash of each definition of the code; None if an older version recorded no definitions."""
        return self._recorded.get("definitions")

    @property
    def measurements(self) -> set[str]:
        """The keys of the measurements of which an evaluation consists."""
        return set(self._recorded.get("measurements", {}).values())

    @property
    def kind(self) -> str:
        """The kind: training, evaluation, measurement or kept; unknown if the entry does not record it."""
        return str(self.identity.get("kind", "unknown"))

    @property
    def name(self) -> str:
        """The name of the cell, of the metric or of what was kept.

        An evaluation records the names of its study and cell. A training run does not: it gets the name that
        a cell with its settings has by default.
        """
        match self.kind:
            case "unknown":
                return "-"
            case "kept":
                return str(self.identity["name"])
            case "evaluation":
                return f"{self.identity['cell']['study']}/{self.identity['cell']['cell']}"
        settings = self.identity["settings"]
        name = f"{likelihood_name(settings['likelihood'])}-{settings['latent_dim']}-{settings['seed']}"
        return name if self.kind == "training" else f"{name} {', '.join(self.identity['metric'])}"

    @cached_property
    def state(self) -> str:
        """The state of the entry; "damaged" means that it was done, but that its files have changed since."""
        if self.entry.busy:
            return "running"
        if self.entry.finished:
            return "done" if self.entry.done() else "damaged"
        if self.entry.failure is not None:
            return "failed"
        return "half done" if self.newest else "empty"

    @cached_property
    def _stats(self) -> list[tuple[float, int]]:
        paths = [path for path in self.entry.folder.rglob("*") if path != self.entry.folder / LOCK]
        stats = [path.lstat() for path in paths if path.is_symlink() or path.is_file()]
        return [(stat.st_mtime, stat.st_size) for stat in stats]

    @property
    def newest(self) -> float:
        """The time at which its newest file was written, in seconds since 1970; 0 without files."""
        return max((written for written, _ in self._stats), default=0.0)

    @property
    def age_seconds(self) -> float:
        """The seconds since its newest file was written; without files: since the folder was changed."""
        return time.time() - (self.newest or self.entry.folder.stat().st_mtime)

    @property
    def age(self) -> str:
        """The age in words."""
        units = ((86400, "days"), (3600, "hours"), (60, "minutes"), (0, "seconds"))
        seconds, word = next(unit for unit in units if self.age_seconds >= 2 * unit[0])
        return f"{self.age_seconds // (seconds or 1):.0f} {word}"

    @property
    def size_bytes(self) -> int:
        """The total size of its files."""
        return sum(size for _, size in self._stats)


def inventory(store: Path) -> tuple[list[Stored], list[str]]:
    """Return the entries of a store, sorted by key, and the names of all other files and folders in it."""
    paths = sorted(store.iterdir()) if store.is_dir() else []
    mine = [path for path in paths if KEY.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]
    foreign = [path.name for path in paths if path not in mine]
    return [Stored(Entry(path)) for path in mine], foreign


def likelihood_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the YAML in conf/likelihood/ that fits `settings` best.

    It has the same class and, where possible, the same classes of parts and the fewest other values.

    Example:
        >>> likelihood_name({"_target_": "LocationScale", "law": {"_target_": "Laplace"}, "scale": 0.3})
        'laplace'
    """
    settings = without_modules(settings)
    differences = {
        name: (
            _classes(choice) != _classes(settings),
            sum(settings.get(key) != value for key, value in choice.items()) + len({*settings} - {*choice}),
        )
        for name, choice in _likelihoods().items()
        if choice["_target_"] == settings.get("_target_")
    }
    return min(differences, key=differences.__getitem__, default=str(settings.get("_target_", "-")))


def _classes(node: Any) -> list[str]:
    """Return the names of the classes of a part and of all parts inside it."""
    if not isinstance(node, Mapping):
        return []
    return [node.get("_target_", ""), *(name for value in node.values() for name in _classes(value))]


@cache
def _likelihoods() -> dict[str, dict[str, Any]]:
    paths = sorted((PROJECT / "conf" / "likelihood").glob("*.yaml"))
    contents: dict[str, Any] = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in paths}
    for content in contents.values():
        content.pop(SEARCH, None)  # no setting of a cell
    return {name: without_modules(content) for name, content in contents.items()}
