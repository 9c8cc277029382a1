"""Download a file from the first mirror that has it undamaged; a mirror is an address or a local folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from hydra.errors import CompactHydraException

from vae_likelihoods.datasets.transfer import Transfer, is_address, local_path
from vae_likelihoods.errors import require
from vae_likelihoods.files import beside

ENVIRONMENT = "VAE_LIKELIHOODS_MIRROR"
_CHECKSUMS = ("md5", "sha256", "compressed_md5", "compressed_sha256")
log = logging.getLogger(__name__)


class DownloadError(CompactHydraException):
    """No mirror has the file undamaged; the message lists each mirror and why it failed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the mirrors, with exactly one checksum.

    Prefer a checksum of the decompressed bytes (`md5` or `sha256`), because mirrors compress differently.
    With a checksum of the .gz file (`compressed_*`) the .gz file itself is kept.
    """

    name: str
    md5: str | None = None
    sha256: str | None = None
    compressed_md5: str | None = None
    compressed_sha256: str | None = None

    def __post_init__(self) -> None:
        checksums = [key for key in _CHECKSUMS if getattr(self, key)]
        require(len(checksums) == 1, "files", self.name, "needs exactly one checksum", _CHECKSUMS)

    @property
    def checksum(self) -> str:
        """The checksum of the stored file as pooch writes it, such as ``md5:6bbc...``."""
        key = next(key for key in _CHECKSUMS if getattr(self, key))
        return f"{key.removeprefix('compressed_')}:{getattr(self, key)}"

    @property
    def decompress(self) -> bool:
        """Whether the file is stored decompressed."""
        return not (self.compressed_md5 or self.compressed_sha256)

    @property
    def stored_name(self) -> str:
        """The name under ``data/raw/<dataset>/``."""
        return self.name.removesuffix(".gz") if self.decompress else self.name

    def is_whole(self, path: Path) -> bool:
        """Return whether the file at `path` is there and has the checksum."""
        algorithm, _, digest = self.checksum.partition(":")
        return path.is_file() and bool(pooch.file_hash(str(path), alg=algorithm) == digest.lower())


@dataclass
class Mirrors:
    """Places that may have the files of one data set, tried in turn.

    Args:
        dataset: name of the data set.
        bases: addresses (http, https) and folders (plain, ``~`` or ``file://``). The environment variable
            ``VAE_LIKELIHOODS_MIRROR`` names one more, which is tried first. It has a folder for each data
            set, or the files themselves.
        retries: how often a failed transfer is repeated at one address.
        timeout_s: seconds without a byte after which a transfer has failed.
    """

    dataset: str
    bases: Sequence[str]
    retries: int = 2
    timeout_s: float = 30.0
    _unreachable: dict[str, str] = field(default_factory=dict)  # hosts, and the reason

    def download(self, file: RemoteFile, folder: Path) -> bool:
        """Download `file` unless `folder` has it undamaged; return whether it was downloaded.

        Raises:
            DownloadError: if no mirror has it undamaged; `folder` stays as it was.
        """
        if file.is_whole(folder / file.stored_name):
            return False
        failures: dict[str, str] = {}
        with beside(folder) as staging:
            for base in self._all_bases():
                failure = self._try_mirror(base, file, staging)
                if failure is None:
                    folder.mkdir(parents=True, exist_ok=True)
                    (staging / file.stored_name).replace(folder / file.stored_name)
                    return True
                failures[base] = failure
                log.warning("%s: no %s from %s: %s", self.dataset, file.name, base, failure)
        raise DownloadError(self._explain(file, failures))

    def _all_bases(self) -> list[str]:
        extra = os.environ.get(ENVIRONMENT, "").rstrip("/")
        folders = (
            [f"{extra}/{self.dataset}", f"{extra}/{self.dataset.replace('_', '-')}", extra] if extra else []
        )
        existing = [folder for folder in folders if is_address(folder) or local_path(folder).is_dir()]
        return list(dict.fromkeys([*(existing or folders[-1:]), *self.bases]))

    def _try_mirror(self, base: str, file: RemoteFile, staging: Path) -> str | None:
        """Try to download `file` from `base` into `staging`; return why it failed, or None."""
        host, reasons = urlsplit(base).netloc, []
        if host and host in self._unreachable:
            return self._unreachable[host]
        for name in dict.fromkeys([file.name, file.stored_name]):
            try:
                self._transfer(f"{base.rstrip('/')}/{name}", file, staging)
                return None
            except FileNotFoundError:
                reasons.append(f"no {name} there")
            except (requests.ConnectionError, requests.Timeout) as error:
                self._unreachable[host] = f"no answer, or an interrupted one ({_shorten(error)})"
                return self._unreachable[host]
            except (OSError, ValueError) as error:
                reasons.append(f"{name}: {_shorten(error)}")
        return "; ".join(reasons)

    def _transfer(self, location: str, file: RemoteFile, staging: Path) -> None:
        """Let pooch download, check, retry and rename; the checksum is that of the stored form."""
        downloader = pooch.create(
            path=staging,
            base_url="",
            registry={file.stored_name: file.checksum},
            urls={file.stored_name: location},
            retry_if_failed=self.retries if is_address(location) else 0,
        )
        pooch.get_logger().setLevel(logging.WARNING)  # at INFO it prints a temporary path
        downloader.fetch(file.stored_name, downloader=Transfer(file.decompress, self.timeout_s))

    def _explain(self, file: RemoteFile, failures: dict[str, str]) -> str:
        attempts = "".join(f"\n  {base}: {failure}" for base, failure in failures.items())
        return (
            f"dataset={self.dataset}: {file.name} could not be downloaded. "
            f"Tried:{attempts or ' nothing, there are no mirrors'}\n"
            f"Name a folder or an address that has the files: 'dataset.mirrors=[/path]' "
            f"or {ENVIRONMENT}=/path."
        )


def _shorten(error: BaseException) -> str:
    """Return the error in one line, and without the temporary names that pooch prints."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "does not match the known hash" in text:
        checksum = text.rpartition("but got")[2].split(". ")[0].strip()
        return f"damaged: its checksum is {checksum}, not the published one"
    text = text.rpartition("(Caused by ")[2]  # requests prints all earlier errors before this one
    return text if len(text) <= 200 else f"{text[:197]}..."
