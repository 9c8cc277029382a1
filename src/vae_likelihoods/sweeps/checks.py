"""Checks before a sweep begins: no two cells share a folder, and every folder can be written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.sweeps.stages import Stage


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
