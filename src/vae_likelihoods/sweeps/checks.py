"""Checks before a sweep begins: no result is replaced by another, and every folder can be written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import CONFIG
from vae_likelihoods.errors import SettingError
from vae_likelihoods.sweeps.stages import Stage

log = logging.getLogger(__name__)


def check_names(cells: Sequence[Cell]) -> None:
    """Refuse a grid in which two different cells would share a folder.

    Raises:
        SettingError: naming the folder.
    """
    by_name: dict[str, Cell] = {}
    for cell in cells:
        if by_name.setdefault(cell.name, cell).key != cell.key:
            folder = f"runs/{cell.study}/{cell.name}"
            raise SettingError("cell", cell.name, f"two different cells would be written to {folder}")


def check_replaced(stage: Stage, cells: Sequence[Cell]) -> None:
    """Refuse a grid in which a cell would replace the training of other settings.

    A cell of the same settings is replaced if its code or data changed since; one line says so.

    Raises:
        SettingError: naming the folder, and the first setting that differs.
    """
    if stage.name != "train":
        return
    there = [cell for cell in cells if (cell.run_folder / CONFIG).is_file()]
    for cell in there:
        if differing := cell.otherwise_trained():
            key, old, new = differing[0]
            folder = f"runs/{cell.study}/{cell.name}"
            reason = (
                f"{folder} was trained with {key}={old}, this is {key}={new}, and a result of other settings "
                f"is not replaced; take another name (study=...), or remove {folder}"
            )
            raise SettingError("cell", cell.name, reason)
    if again := [cell for cell in there if not stage.entry(cell).finished]:
        count = f"{len(again)} of {len(cells)} cells in runs/{again[0].study}"
        log.warning("%s: trained again, as code, data or torch changed, or the store is another one", count)


def check_folders(stage: Stage, cell: Cell) -> None:
    """Refuse a grid whose results could not be written.

    Raises:
        SettingError: naming the setting and the folder.
    """
    check_writable("runtime.root", cell.root, stage.target(cell).parent)
    check_writable("runtime.store", cell.settings.runtime.cell_store)


def check_writable(key: str, value: Path, folder: Path | None = None) -> None:
    """Refuse a setting whose folder cannot be written, or cannot be created; leave nothing behind.

    Args:
        key: the setting.
        value: its value, a folder.
        folder: the folder inside `value` that is written; None: `value` itself.

    Raises:
        SettingError: naming the setting and the folder.
    """
    folder = folder or value
    try:
        folder = next(path for path in (folder, *folder.parents) if path.exists())
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingError(key, value, f"{folder} cannot be written to ({error.strerror})") from None
