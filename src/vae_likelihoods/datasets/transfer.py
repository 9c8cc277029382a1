"""One transfer of one file, from an address or a local folder, in the form in which it is kept."""

from __future__ import annotations

import gzip
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests
from tqdm import tqdm

_GZIP_MAGIC = b"\x1f\x8b"
_NOT_THERE = (403, 404, 410)  # S3 says 403; asking again is no use


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar that is true before its total is known: pooch asks."""

    def __bool__(self) -> bool:
        return True


@dataclass
class Transfer:
    """Copies one file from an address or a path; called as pooch calls its downloaders.

    Args:
        decompress: whether a .gz is to be kept decompressed.
        timeout_s: seconds without a byte after which it has failed.

    Raises:
        FileNotFoundError: if the place says that it has no such file.
        requests.RequestException: if the transfer fails otherwise.
        ValueError: if a .gz is truncated or damaged.
    """

    decompress: bool
    timeout_s: float

    def __call__(self, location: str, output_file: str, _keeper: Any) -> None:
        """Write the file at `location` to `output_file`."""
        if not is_address(location):
            return self._store(local_path(location), Path(output_file))
        received = Path(f"{output_file}.received")
        try:
            self._receive(location, received)
            self._store(received, Path(output_file))
        finally:
            received.unlink(missing_ok=True)

    def _receive(self, address: str, path: Path) -> None:
        name = address.rpartition("/")[2]
        with _Bar(desc=name, unit="B", unit_scale=True, ncols=79, disable=None, leave=False) as bar:
            http = pooch.HTTPDownloader(
                bar, chunk_size=2**16, timeout=self.timeout_s, hooks={"response": _keep_as_sent}
            )
            try:
                http(address, str(path), None)
            except requests.HTTPError as error:
                response = error.response
                if response is not None and response.status_code in _NOT_THERE:
                    raise FileNotFoundError(address) from error
                raise

    def _store(self, source: Path, target: Path) -> None:
        """Write `source` in the form that is kept; a new file, because pooch's own is closed to others."""
        fresh = target.with_name(f"{target.name}.fresh")
        try:
            with source.open("rb") as stream:
                packed = stream.read(2) == _GZIP_MAGIC
            if self.decompress and packed:
                _gunzip(source, fresh)
            else:
                shutil.copyfile(source, fresh)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)


def _keep_as_sent(response: requests.Response, *_: Any, **__: Any) -> None:
    # Some servers declare .gz files as an encoding, which requests would undo: the checksum is of the .gz.
    response.raw.headers.pop("Content-Encoding", None)


def is_address(mirror: str) -> bool:
    """Return whether `mirror` is asked over the network."""
    return mirror.startswith(("http://", "https://"))


def local_path(mirror: str) -> Path:
    """Return the path that a folder mirror, plain, with ``~`` or ``file://``, means."""
    if mirror.startswith("file://"):
        return Path(url2pathname(urlsplit(mirror).path))
    return Path(mirror).expanduser()


def _gunzip(source: Path, target: Path) -> None:
    try:
        with gzip.open(source) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"truncated or damaged .gz ({error})") from error
