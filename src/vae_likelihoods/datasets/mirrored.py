"""Data sets whose checked files lie on mirrors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.mirrors import Mirrors, RemoteFile
from vae_likelihoods.datasets.transfer import is_address
from vae_likelihoods.errors import require


class Mirrored(Source):
    """A data set of files with checksums, on mirrors; the test images are official.

    A subclass says which files there are (`roles`), and reads them.

    Args:
        name: name of the data set.
        native_levels: number of values a pixel can take.
        mirrors: base addresses and local folders, tried in this order.
        files: name and checksum (`RemoteFile`) of each role.
        validation_size: images cut from the training part, or their share.
        split_seed: seed of the cut.
        retries: how often a failed transfer is repeated at one address.
        timeout_s: seconds without a byte after which a transfer has failed.

    Attributes:
        roles: the files that there must be.
        least_roles: those that there must be at least.

    Raises:
        SettingError: a value is refused.
    """

    roles: tuple[str, ...] = ()
    least_roles: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        native_levels: int,
        mirrors: Sequence[str],
        files: Mapping[str, Mapping[str, str]],
        validation_size: float,
        split_seed: int = 0,
        retries: int = 2,
        timeout_s: float = 30.0,
    ) -> None:
        super().__init__(name, native_levels, validation_size, None, split_seed)
        _check_mirrors(mirrors)
        require(type(retries) is int and retries >= 0, "retries", retries, "must be 0 or more")
        positive = isinstance(timeout_s, int | float) and timeout_s > 0
        require(positive, "timeout_s", timeout_s, "must be a number of seconds above 0")
        possible = [set(self.roles), set(self.least_roles or self.roles)]
        complete = isinstance(files, Mapping) and set(files) in possible
        alone = ", or those of images alone" if self.least_roles else ""
        require(complete, "files", files, f"must have exactly these keys{alone}", self.roles)
        self.files = {role: _remote_file(role, files[role]) for role in self.roles if role in files}
        self.mirrors = Mirrors(name, list(mirrors), retries, float(timeout_s))

    def download(self, folder: Path) -> list[str]:
        """Download the files that are missing or damaged in `folder`; return their names."""
        return [file.stored_name for file in self.files.values() if self.mirrors.download(file, folder)]

    def check_files(self, folder: Path) -> None:
        """Check every file again.

        Raises:
            SettingError: one is missing or damaged; names the command that downloads it.
        """
        for file in self.files.values():
            if not file.is_whole(folder / file.stored_name):
                raise self.not_downloaded(f"{folder / file.stored_name} is missing or damaged")


def _check_mirrors(mirrors: Sequence[str]) -> None:
    is_list = isinstance(mirrors, Sequence) and not isinstance(mirrors, str)
    require(is_list, "mirrors", mirrors, "must be a list, such as 'dataset.mirrors=[/path]'")
    for mirror in mirrors:
        valid = isinstance(mirror, str) and (
            is_address(mirror) or mirror.startswith("file://") or "://" not in mirror
        )
        require(valid, "mirrors", mirror, "must be http://, https://, file:// or a folder")


def _remote_file(role: str, settings: Mapping[str, str]) -> RemoteFile:
    keys = [field.name for field in fields(RemoteFile)]
    valid = isinstance(settings, Mapping) and "name" in settings and set(settings) <= set(keys)
    require(valid, f"files.{role}", settings, "needs a name and one checksum", keys)
    return RemoteFile(**settings)
