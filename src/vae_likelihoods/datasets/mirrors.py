"""Bring a file from the first mirror that has it whole; a mirror is an address or a local folder."""

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
    """No mirror gave the file; the message lists each that was tried and why it failed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the mirrors and exactly one checksum of it.

    The checksum is best that of the decompressed bytes (`md5` or `sha256`), because mirrors compress
    differently. Where only that of the .gz is published (`compressed_*`), those exact bytes are kept.
    """

    name: str
    md5: str | None = None
    sha256: str | None = None
    compressed_md5: str | None = None
    compressed_sha256: str | None = None

    def __post_init__(self) -> None:
        given = [key for key in _CHECKSUMS if getattr(self, key)]
        require(len(given) == 1, "files", self.name, "needs exactly one checksum", _CHECKSUMS)

    @property
    def checksum(self) -> str:
        """The checksum of the stored file as pooch writes it, such as ``md5:6bbc...``."""
        key = next(key for key in _CHECKSUMS if getattr(self, key))
        return f"{key.removeprefix('compressed_')}:{getattr(self, key)}"

    @property
    def decompress(self) -> bool:
        """Whether the stored file is the decompressed one."""
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
    """Places that may hold the files of one data set, asked in turn.

    Args:
        dataset: name of the data set.
        bases: addresses (http, https) and folders (plain, ``~`` or ``file://``). The environment variable
            ``VAE_LIKELIHOODS_MIRROR`` names one more, asked first: it holds a folder for each data set, or
            the files themselves.
        retries: how often a failed transfer is begun again at one address.
        timeout_s: seconds without a byte after which a transfer has failed.
    """

    dataset: str
    bases: Sequence[str]
    retries: int = 2
    timeout_s: float = 30.0
    _silent: dict[str, str] = field(default_factory=dict)  # hosts that gave no answer, and the reason

    def bring(self, file: RemoteFile, folder: Path) -> bool:
        """Make `file` stand whole in `folder`; return whether it had to be brought.

        Raises:
            DownloadError: if no mirror has it whole. `folder` is then as it was.
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
                log.warning("%s: %s not taken from %s: %s", self.dataset, file.name, base, failure)
        raise DownloadError(self._explain(file, failures))

    def _all_bases(self) -> list[str]:
        extra = os.environ.get(ENVIRONMENT, "").rstrip("/")
        folders = (
            [f"{extra}/{self.dataset}", f"{extra}/{self.dataset.replace('_', '-')}", extra] if extra else []
        )
        likely = [folder for folder in folders if is_address(folder) or local_path(folder).is_dir()]
        return list(dict.fromkeys([*(likely or folders[-1:]), *self.bases]))

    def _try_mirror(self, base: str, file: RemoteFile, staging: Path) -> str | None:
        """Try to bring `file` from `base` into `staging`; return why it failed, or None."""
        host, reasons = urlsplit(base).netloc, []
        if host and host in self._silent:
            return self._silent[host]
        for name in dict.fromkeys([file.name, file.stored_name]):
            try:
                self._transfer(f"{base.rstrip('/')}/{name}", file, staging)
                return None
            except FileNotFoundError:
                reasons.append(f"no {name} there")
            except (requests.ConnectionError, requests.Timeout) as error:
                self._silent[host] = f"no answer, or broken off ({_shorten(error)})"
                return self._silent[host]
            except (OSError, ValueError) as error:
                reasons.append(f"{name}: {_shorten(error)}")
        return "; ".join(reasons)

    def _transfer(self, location: str, file: RemoteFile, staging: Path) -> None:
        """Let pooch bring, check, begin again and rename; the check is that of the stored form."""
        keeper = pooch.create(
            path=staging,
            base_url="",
            registry={file.stored_name: file.checksum},
            urls={file.stored_name: location},
            retry_if_failed=self.retries if is_address(location) else 0,
        )
        pooch.get_logger().setLevel(logging.WARNING)  # it would announce a temporary path
        keeper.fetch(file.stored_name, downloader=Transfer(file.decompress, self.timeout_s))

    def _explain(self, file: RemoteFile, failures: dict[str, str]) -> str:
        tried = (
            "".join(f"\n  {base}: {failure}" for base, failure in failures.items())
            or "\n  nothing: no mirrors"
        )
        return (
            f"dataset={self.dataset}: {file.name} could not be had. Tried:{tried}\n"
            f"A folder or an address that holds the files can be named: 'dataset.mirrors=[/path]' or "
            f"{ENVIRONMENT}=/path."
        )


def _shorten(error: BaseException) -> str:
    """Return the error as one line; pooch's tells of temporary names when a checksum is wrong."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "does not match the known hash" in text:
        return (
            "damaged: its checksum is"
            + text.rpartition("but got")[2].split(". ")[0]
            + ", not the published one"
        )
    text = text.rpartition("(Caused by ")[2]  # requests tells the whole way there first
    return text if len(text) <= 200 else f"{text[:197]}..."
