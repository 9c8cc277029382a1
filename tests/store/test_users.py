"""A store that users share: what one finished the other takes, and what cannot be read is no damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from users import ordinary
from vae_likelihoods.files import write_whole
from vae_likelihoods.store.entry import DONE, FAILURE, LOCK, Entry, ForeignError
from vae_likelihoods.training.checkpoints import save_weights


@pytest.fixture
def store() -> Iterator[Path]:
    """A store to which everybody may add."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def finished(folder: Path) -> Entry:
    entry = Entry(folder)
    with entry.locked():
        (folder / "weights").write_bytes(b"the first user's")
        entry.finish(["weights"])
    return entry


def close(folder: Path) -> None:
    """Leave others the right to read, as with a umask of 022."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def compute(folder: Path) -> list[str]:
    raise AssertionError("it is computed again")


def weights(entry: Entry) -> bytes:
    return (entry.folder / "weights").read_bytes()


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027, 0o077])
def test_files_follow_the_umask_whoever_writes_them(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_weights(tmp_path / "a", {"x": torch.zeros(3)})
        write_whole(tmp_path / "b", lambda aside: aside.touch(0o600) or aside.chmod(0o600))
        save_weights(tmp_path / "a", {"x": torch.ones(3)})  # replaces
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "b")] == [0o666 & ~umask] * 2


def test_another_user_takes_what_is_finished(store: Path) -> None:
    entry = finished(store / "key")
    close(entry.folder)
    with ordinary():
        entry.check_access()
        assert entry.once({}, compute, weights) == b"the first user's"
        assert entry.take(lambda entry: entry.lay_out(store / "runs" / "cell", {}))
    assert (store / "runs" / "cell" / "weights").read_bytes() == b"the first user's"


@pytest.mark.parametrize("name", ["weights", DONE, "."])
def test_what_cannot_be_read_is_not_damaged(store: Path, name: str) -> None:
    entry = finished(store / "key")
    entry.folder.chmod(0o777)
    (entry.folder / LOCK).chmod(0o666)
    hidden = entry.folder / name
    mode = hidden.stat().st_mode
    hidden.chmod(0)
    with ordinary():
        for use in (entry.done, lambda: entry.once({}, compute, weights), lambda: entry.take(weights)):
            with pytest.raises(
                ForeignError, match=f"runtime.store={store}: {entry.folder}.*Permission denied"
            ):
                use()
    hidden.chmod(mode)
    assert entry.done()
    assert not (entry.folder / FAILURE).exists()


def test_what_another_user_began_is_refused_before_the_work(store: Path) -> None:
    entry = Entry(store / "key")
    with entry.locked():
        (entry.folder / "checkpoint").touch()
    close(entry.folder)
    with ordinary():
        for use in (
            entry.check_access,
            lambda: entry.once({}, compute, weights),
            lambda: entry.take(weights),
        ):
            with pytest.raises(ForeignError, match="umask 002"):
                use()


def test_what_is_damaged_is_not_computed_without_the_lock(store: Path) -> None:
    entry = finished(store / "key")
    (entry.folder / "weights").write_bytes(b"changed")
    close(entry.folder)
    with ordinary(), pytest.raises(ForeignError):
        entry.once({}, compute, weights)
    assert entry.finished
