"""Copy one file from an address or a local folder, decompressed if it is to be stored so."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
import requests
from tqdm import tqdm

from vae_likelihoods.datasets.gz import refusing_damaged_gz

_GZIP_MAGIC = b"\x1f\x8b"
_MISSING = (403, 404, 410)  # S3 answers 403 to a missing file; a retry would not help


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar that counts as true before its total is known, because pooch tests it."""

    def __bool__(self) -> bool:
        return True


@dataclass
class Transfer:
    """Copies one file from an address or a path, as a downloader of pooch.

    Args:
        decompress: whether a .gz is stored decompressed.
        timeout_s: seconds without a byte after which it has failed.

    Raises:
        FileNotFoundError: if there is no such file at this place.
        requests.RequestException: if the transfer fails otherwise.
        ValueError: if a .gz is truncated or damaged.
    """

    decompress: bool
    timeout_s: float

    def __call__(self, location: str, output_file: str, _pooch: Any) -> None:
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
                if response is not None and response.status_code in _MISSING:
                    raise FileNotFoundError(address) from error
                raise

    def _store(self, source: Path, target: Path) -> None:
        """Write `source` in the stored form, to a new file: that of pooch is closed to other users."""
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
    # Some servers declare .gz as an encoding, and requests would decompress; the checksum is of the .gz.
    response.raw.headers.pop("Content-Encoding", None)


def is_address(mirror: str) -> bool:
    """Return whether `mirror` is an address in the network."""
    return mirror.startswith(("http://", "https://"))


def local_path(mirror: str) -> Path:
    """Return the path of a mirror that is a folder: plain, with ``~`` or ``file://``."""
    if mirror.startswith("file://"):
        return Path(url2pathname(urlsplit(mirror).path))
    return Path(mirror).expanduser()


def _gunzip(source: Path, target: Path) -> None:
    with refusing_damaged_gz(), gzip.open(source) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
