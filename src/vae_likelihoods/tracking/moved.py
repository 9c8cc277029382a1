"""A folder of results that was moved or copied: its MLflow database has the addresses of the old place."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ARTIFACTS = "mlartifacts"  # beside the database
COLUMNS = (("experiments", "experiment_id", "artifact_location"), ("runs", "run_uuid", "artifact_uri"))


def follow(database: Path) -> None:
    """Let the addresses of artifacts beside `database` name the folder in which it lies now.

    MLflow keeps them absolute, cannot change them, and would write to the old place. Addresses of other kinds
    stay as they are, and so does a file that is no database of MLflow.
    """
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database)) as connection, connection:
        for table, key, column in COLUMNS:
            rows = connection.execute(f"select {key}, {column} from {table}").fetchall()
            moved = [
                (now, name) for name, address in rows if (now := following(address, database)) != address
            ]
            connection.executemany(f"update {table} set {column} = ? where {key} = ?", moved)


def following(address: str | None, database: Path) -> str | None:
    """Return the address of the same artifacts beside `database`.

    Example:
        >>> following("file:///old/mlartifacts/grey/5f/artifacts", Path("/new/mlflow.db"))
        'file:///new/mlartifacts/grey/5f/artifacts'
    """
    inside = re.fullmatch(rf"file:.*/{ARTIFACTS}/(.+)", address or "")
    return f"{(database.parent / ARTIFACTS).as_uri()}/{inside[1]}" if inside else address


def lost(address: str, name: str) -> bool:
    """Whether the artifact `name` should lie in a folder of this machine, and does not."""
    return address.startswith("file:") and not (Path(url2pathname(urlsplit(address).path)) / name).exists()
