"""What is meant by a key, the beginning of one, or <study>/<cell>."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import hashes
from vae_likelihoods.sweeps import studies
from vae_likelihoods.upkeep.inventory import SHORT, Stored

LISTED = 8  # so many keys are named in a message


@dataclass(frozen=True)
class Lookup:
    """Where to look.

    Args:
        root: folder of all results.
        params: the params.yaml of the studies.
        entries: of the store.
    """

    root: Path
    params: Path
    entries: Sequence[Stored]

    def stored(self, argument: str, text: str) -> Stored:
        """Return the one entry whose key begins with `text`.

        Raises:
            SettingError: naming what there is, if there is none or are several.
        """
        matches = [each for each in self.entries if text and each.key.startswith(text)]
        if len(matches) == 1:
            return matches[0]
        reason = "begins several keys" if matches else "begins no key in the store and is no <study>/<cell>"
        shown = matches or [each for each in self.entries if each.kind != "measurement"]
        newest = sorted(shown, key=lambda each: each.age_seconds)
        named = [f"{each.key[: max(SHORT, len(text) + 4)]} ({each.name})" for each in newest[:LISTED]]
        more = [f"{len(newest) - LISTED} more"] if len(newest) > LISTED else []
        cells = [] if matches else [f"{study}/<cell>" for study in self._studies()]
        raise SettingError(argument, text or "(none)", reason, [*named, *more, *cells])

    def state(self, key: str) -> str | None:
        """Return how far the entry with this key is, and why it failed if it did; None if there is none."""
        stored = next((each for each in self.entries if each.key == key), None)
        if stored is None:
            return None
        reason = (stored.entry.failure or "").splitlines()[:1] if stored.state == "failed" else []
        return ": ".join([stored.state, *reason])

    def cell(self, argument: str, text: str, kind: str) -> Cell:
        """Return the cell `<study>/<cell>`: of params.yaml as it is now, or else one that lies in runs/.

        Raises:
            SettingError: naming what there is.
        """
        study, _, name = text.partition("/")
        if study not in self._studies():
            raise SettingError(argument, text, f"there is no study {study}", self._studies())
        axes = studies.axes(self.params)
        grid = studies.grid(study, axes[study], self.root) if study in axes else []
        composed = {cell.name: cell for cell in grid}
        lying = {path.parent.name: path.parent for path in (self.root / "runs" / study).glob("*/config.yaml")}
        if name in composed:
            return composed[name]
        if name in lying:
            return self._laid_out(lying[name], kind)
        choices = [f"{study}/{each}" for each in sorted({*composed, *lying})]
        raise SettingError(argument, text, f"is no cell of {study}", choices)

    def _studies(self) -> list[str]:
        lying = [path.name for path in (self.root / "runs").glob("[!.]*")]
        return sorted({*studies.axes(self.params), *lying})

    def _laid_out(self, folder: Path, kind: str) -> Cell:
        """Read a cell of runs/; its metrics are those of its evaluation, else the default ones."""
        cell = Cell.laid_out(folder, self.root)
        if kind == "training":
            return cell
        measured = hashes(cell.evaluation_folder)
        for each in self.entries:
            files = each.entry.files()
            if each.kind == "evaluation" and files and files.items() <= measured.items():
                return Cell(cell.settings.model_copy(update={"metric": each.identity["metric"]}))
        (default,) = studies.composed([[]], self.root)
        return Cell(cell.settings.model_copy(update={"metric": default.metric}))
