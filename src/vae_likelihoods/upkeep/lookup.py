"""Find the result that a user names by a key, by the beginning of a key, or by <study>/<cell>."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vae_likelihoods.cells.build import check_targets
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import CONFIG
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import hashes
from vae_likelihoods.sweeps import studies
from vae_likelihoods.upkeep.inventory import SHORT, Stored

LISTED = 8  # number of keys that a message names


@dataclass(frozen=True)
class Lookup:
    """The results among which a name is looked up.

    Args:
        root: the folder of all results.
        params: the params.yaml of the studies.
        entries: the entries of the store.
    """

    root: Path
    params: Path
    entries: Sequence[Stored]

    def stored(self, argument: str, text: str) -> Stored:
        """Return the one entry whose key begins with `text`.

        Raises:
            SettingError: if no key or several keys begin with `text`; the message lists the choices.
        """
        matches = [each for each in self.entries if text and each.key.startswith(text)]
        if len(matches) == 1:
            return matches[0]
        unknown = "is neither the beginning of a key in the store nor <study>/<cell>"
        reason = "is the beginning of several keys" if matches else unknown
        shown = matches or [each for each in self.entries if each.kind != "measurement"]
        newest = sorted(shown, key=lambda each: each.age_seconds)
        named = [f"{each.key[: max(SHORT, len(text) + 4)]} ({each.name})" for each in newest[:LISTED]]
        more = [f"{len(newest) - LISTED} more"] if len(newest) > LISTED else []
        cells = [] if matches else [f"{study}/<cell>" for study in self._studies()]
        raise SettingError(argument, text or "(none)", reason, [*named, *more, *cells])

    def state(self, key: str) -> str | None:
        """Return the state of the entry with this key and the reason of a failure; None without an entry."""
        stored = next((each for each in self.entries if each.key == key), None)
        if stored is None:
            return None
        reason = (stored.entry.failure or "").splitlines()[:1] if stored.state == "failed" else []
        return ": ".join([stored.state, *reason])

    def cell(self, argument: str, text: str, kind: str) -> Cell:
        """Return the cell `<study>/<cell>` of the present params.yaml, or else of runs/.

        Raises:
            SettingError: if there is no such cell, with the choices; or if a class of it cannot be imported.
        """
        study, _, name = text.partition("/")
        if study not in self._studies():
            raise SettingError(argument, study, "there is no such study", self._studies())
        axes = studies.axes(self.params)
        grid = studies.grid(study, axes[study], self.root) if study in axes else []
        composed = {cell.name: cell for cell in grid}
        laid_out = {
            path.parent.name: path.parent for path in (self.root / "runs" / study).glob(f"*/{CONFIG}")
        }
        if name in composed:
            check_targets(composed[name].settings.learned)
            return composed[name]
        if name in laid_out:
            return self._read(laid_out[name], kind)
        choices = [f"{study}/{each}" for each in sorted({*composed, *laid_out})]
        raise SettingError(argument, text, f"is not a cell of {study}", choices)

    def _studies(self) -> list[str]:
        laid_out = [path.name for path in (self.root / "runs").glob("[!.]*")]
        return sorted({*studies.axes(self.params), *laid_out})

    def _read(self, folder: Path, kind: str) -> Cell:
        """Read a cell of runs/, with the metrics of its evaluation or, without one, the default metrics."""
        cell = Cell.laid_out(folder, self.root)
        check_targets(cell.settings.learned)
        if kind == "training":
            return cell
        measured = hashes(cell.evaluation_folder)
        for each in self.entries:
            files = each.entry.files()
            if each.kind == "evaluation" and files and files.items() <= measured.items():
                return Cell(cell.settings.model_copy(update={"metric": each.identity["metric"]}))
        (default,) = studies.composed([[]], self.root)
        return Cell(cell.settings.model_copy(update={"metric": default.metric}))
