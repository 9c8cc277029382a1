"""What is known of image files beside their pixels: a class or a group, from folders or from a CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import shown


def is_table(value: Any) -> bool:
    """Return whether a setting names a CSV."""
    return isinstance(value, str) and value.lower().endswith(".csv")


def table_path(key: str, table: str, folder: Path) -> Path:
    """Return the path of a CSV, relative to the working folder or to that of the images.

    Raises:
        SettingError: it is in neither.
    """
    path = Path(table).expanduser()
    path = path if path.is_absolute() or path.is_file() else folder / path
    require(path.is_file(), key, table, "there is no such file, nor in the folder of the images")
    return path


def of_table(key: str, table: str, column: str, folder: Path, names: Sequence[str]) -> list[str]:
    """Return the value of each file in a CSV with the columns file and `column`, without spaces at its ends.

    Raises:
        SettingError: it is no such CSV, or has no value of a file, or two.
    """
    try:
        with table_path(key, table, folder).open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            rows, header = list(reader), [name.strip() for name in reader.fieldnames or []]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingError(key, table, f"is no CSV in UTF-8 ({error})") from None
    reason = f"needs the columns file and {column}, has {header}"
    require({"file", column} <= set(header), key, table, reason)
    values, known = dict[str, str](), set(names)
    for row in rows:
        cells = {str(name).strip(): cell for name, cell in row.items() if isinstance(cell, str)}
        file, value = cells.get("file", "").removeprefix("./"), cells.get(column, "").strip()
        file = file if file in known else file.strip()
        both = f"gives {shown(file)} two values: {shown(values.get(file))} and {shown(value)}"
        require(not file or values.setdefault(file, value) == value, key, table, both)
    missing = [shown(name) for name in names if not values.get(name)]
    reason = f"has no {column} of {len(missing)} of {len(names)} images, such as {missing[:1]}"
    require(not missing, key, table, reason)
    return [values[name] for name in names]


def of_folders(key: str, names: Sequence[str]) -> list[str]:
    """Return the first folder of each file.

    Raises:
        SettingError: a file lies in none.
    """
    loose = [shown(name) for name in names if "/" not in name]
    reason = f"{len(loose)} images lie in no folder of their own class, such as {loose[:1]}"
    require(not loose, key, "folders", reason)
    return [name.partition("/")[0] for name in names]
