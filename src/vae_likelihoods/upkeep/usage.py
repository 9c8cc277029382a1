"""Which entries of the store are used by a study, by a folder of results or by a process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.cells.run_files import WEIGHTS
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import hashes, sha256
from vae_likelihoods.store.entry import BusyError, Entry, ForeignError
from vae_likelihoods.upkeep.inventory import Stored


class Usage:
    """The entries that the studies and the folders of results use.

    An entry counts as used whenever that is in doubt:

    - If the data of a cell are not prepared, its key is unknown. All entries with its settings are used.
    - If neither runs/ nor the store has the weights of a cell, all its evaluations are used.
    - A measurement is used if an evaluation that contains it is used.
    - What was kept of a data set is used if a study has these data.
    - An entry that this user may not lock is used.
    - The trials of a race are used as long as logs/tune/ says that it was run here.

    Args:
        root: the folder of runs/ and evaluations/.
        cells: the cells of all studies.
        entries: the entries of the store.

    Attributes:
        unprepared: the reason, for each study whose data are not prepared.
    """

    def __init__(self, root: Path, cells: Iterable[Cell], entries: Iterable[Stored]) -> None:
        self.unprepared: dict[str, SettingError] = {}
        self._keys: set[str] = set()
        self._settings: set[str] = set()
        self._data: set[str] = set()
        for cell in cells:
            try:
                self._keys |= {cell.key, *_evaluations(cell)}
                self._data.add(cell.data.sha256)
            except SettingError as error:
                self.unprepared[cell.study] = error
                self._settings |= {key_of(cell.settings.learned), key_of(cell.description())}
        self._keys |= _tried(root)
        folders = [path for stage in ("runs", "evaluations") for path in (root / stage).glob("[!.]*/[!.]*")]
        self._laid_out = [hashes(folder) for folder in folders]
        for stored in entries:
            if stored.measurements and self.uses(stored):
                self._keys |= stored.measurements

    def uses(self, stored: Stored) -> bool:
        """Whether `stored` is used."""
        files, identity = stored.entry.files(), stored.identity
        settings = identity.get("settings") or identity.get("cell") or {}
        return (
            stored.key in self._keys
            or ("weights" in identity and key_of({**identity, "weights": ""}) in self._keys)
            or key_of(settings) in self._settings
            or (stored.kind == "kept" and (identity["data"] in self._data or bool(self.unprepared)))
            or (bool(files) and any(files.items() <= folder.items() for folder in self._laid_out))
            or _busy(stored.entry)
        )


def drop(entries: Iterable[Stored]) -> list[Stored]:
    """Remove entries and return them, except those on which a process has worked since they were listed."""
    dropped = []
    for stored in entries:
        seen = stored.newest
        with suppress(BusyError), stored.entry.locked(wait_seconds=0):
            if Stored(stored.entry).newest in (seen, 0.0):
                stored.entry.remove()
                dropped.append(stored)
    return dropped


def _busy(entry: Entry) -> bool:
    """Whether a live process holds the lock, or another user may: this one cannot try it."""
    try:
        return entry.busy
    except ForeignError:
        return True


def _tried(root: Path) -> set[str]:
    """Return the keys of all trials of the races that were run in `root`; a damaged log names none."""
    keys: set[str] = set()
    for path in (root / "logs" / "tune").glob("*.json"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            keys |= {str(trial["key"]) for trial in json.loads(path.read_text(encoding="utf-8"))["trials"]}
    return keys


def _evaluations(cell: Cell) -> set[str]:
    """Return the keys that the evaluation of a cell may have; without known weights: the key for none."""
    path = cell.run_folder / WEIGHTS
    laid_out = sha256(path) if path.is_file() else None
    known = {weights for weights in (laid_out, cell.trained.files().get(WEIGHTS)) if weights}
    return {
        key
        for weights in known or {""}
        for key in (
            cell.evaluation_of(weights).key,
            *(cell.measurement_of(metric, weights).key for metric in cell.settings.metric),
        )
    }
