"""What is refused before a sweep begins: cells that would share a folder, folders that cannot be written."""

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
        SettingError: naming the folder and a setting in which the cells differ.
    """
    seen: dict[str, Cell] = {}
    for cell in cells:
        if seen.setdefault(cell.name, cell).key != cell.key:
            where = f"runs/{cell.study}/{cell.name}"
            raise SettingError("cell", cell.name, f"two different cells would be written to {where}")


def check_folders(stage: Stage, cell: Cell) -> None:
    """Refuse a grid whose results could not be written.

    Raises:
        SettingError: naming the key that says where, and the folder.
    """
    check_writable("runtime.root", cell.root, stage.target(cell).parent)
    check_writable("runtime.store", cell.settings.runtime.cell_store)


def check_writable(key: str, value: Path, folder: Path | None = None) -> None:
    """Refuse `value` of `key` unless files can be made in `folder`, or where it will be made; leave no trace.

    Args:
        key: the setting that says where.
        value: what it says.
        folder: a folder in it; None: itself.

    Raises:
        SettingError: naming the key and the folder.
    """
    folder = folder or value
    try:
        folder = next(path for path in (folder, *folder.parents) if path.exists())
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingError(key, value, f"{folder} cannot be written to ({error.strerror})") from None
