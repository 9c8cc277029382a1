"""The cell store: what counts as done, and a lock that dies with its process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vae_likelihoods.files import sha256
from vae_likelihoods.store import DONE, FAILURE, BusyError, Entry

HOLDER = """
import sys, time
from pathlib import Path
from vae_likelihoods.store import Entry

with Entry(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """A finished result of two files."""
    made = Entry(tmp_path / ".cells" / "key")
    with made.locked():
        (made.folder / "grids").mkdir()
        (made.folder / "weights").write_bytes(b"\x00\x01\x02")
        (made.folder / "grids" / "a.png").write_bytes(b"picture")
        (made.folder / "scratch").write_text("no result")
        made.finish(["weights", "grids/a.png"])
    return made


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_finished_results_are_done(entry: Entry) -> None:
    assert entry.done()
    assert entry.finished
    assert json.loads((entry.folder / DONE).read_text()) == {
        "grids/a.png": sha256(entry.folder / "grids" / "a.png"),
        "weights": sha256(entry.folder / "weights"),
    }


def test_nothing_is_not_done(tmp_path: Path) -> None:
    absent = Entry(tmp_path / "absent")
    assert not absent.done()
    assert not absent.finished
    assert absent.failure is None
    assert not absent.busy
    assert not absent.folder.exists()  # asking leaves no trace


def test_files_without_done_are_not_done(entry: Entry) -> None:
    (entry.folder / DONE).unlink()
    assert not entry.done()


@pytest.mark.parametrize("name", ["weights", "grids/a.png"])
def test_a_changed_byte_is_not_done(entry: Entry, name: str) -> None:
    content = bytearray((entry.folder / name).read_bytes())
    content[-1] ^= 1
    (entry.folder / name).write_bytes(content)
    assert not entry.done()


def test_a_missing_file_is_not_done(entry: Entry) -> None:
    (entry.folder / "weights").unlink()
    assert not entry.done()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"null", b"[]", b"3", b'{"weights": 7}', b'{"weights": null}', b"\xff\xfe", b"{}"]
)
def test_a_damaged_done_is_not_done(entry: Entry, damage: bytes) -> None:
    (entry.folder / DONE).write_bytes(damage)
    assert not entry.done()


def test_files_beside_the_result_do_not_count(entry: Entry) -> None:
    (entry.folder / "scratch").write_text("changed")
    (entry.folder / "more").touch()
    assert entry.done()


def test_begin_forgets_done_and_failure(entry: Entry) -> None:
    entry.fail("broken")
    entry.begin()
    assert not entry.done()
    assert entry.failure is None
    assert (entry.folder / "weights").exists()  # a checkpoint may be of use
    entry.begin()  # with nothing there


def test_a_failure_is_recorded(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")
    entry.fail("Traceback ...\nValueError: ü")
    assert entry.failure == "Traceback ...\nValueError: ü"
    assert (entry.folder / FAILURE).is_file()
    assert not entry.done()


def test_finish_wants_its_files(tmp_path: Path) -> None:
    entry = Entry(tmp_path)
    with pytest.raises(FileNotFoundError):
        entry.finish(["absent"])
    assert not entry.finished


def test_lay_out_copies_the_result_and_adds_texts(entry: Entry, tmp_path: Path) -> None:
    target = tmp_path / "runs" / "study" / "cell"
    entry.lay_out(target, {"config.yaml": "seed: 0\n"})
    expected = {"weights": b"\x00\x01\x02", "grids/a.png": b"picture", "config.yaml": b"seed: 0\n"}
    assert files_of(target) == expected
    assert list(target.parent.iterdir()) == [target]
    assert entry.done()
    (target / "weights").write_bytes(b"changed")  # a copy and no link
    assert entry.done()


def test_lay_out_replaces_what_was_there(entry: Entry, tmp_path: Path) -> None:
    target = tmp_path / "cell"
    target.mkdir()
    (target / "stale").touch()
    (target / "weights").write_bytes(b"old")
    entry.lay_out(target, {})
    assert set(files_of(target)) == {"weights", "grids/a.png"}
    assert (target / "weights").read_bytes() == b"\x00\x01\x02"


def test_lay_out_that_fails_leaves_nothing_half(entry: Entry, tmp_path: Path) -> None:
    target = tmp_path / "runs" / "cell"
    entry.lay_out(target, {"config.yaml": "old"})
    before = files_of(target)
    (entry.folder / "weights").unlink()
    with pytest.raises(FileNotFoundError):
        entry.lay_out(target, {"config.yaml": "new"})
    assert files_of(target) == before
    assert list(target.parent.iterdir()) == [target]


def test_a_lock_of_another_process_is_busy_until_it_is_killed(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")
    with held_by_another_process(entry.folder) as process:
        assert entry.busy
        with pytest.raises(BusyError, match="another process"), entry.locked(wait_seconds=0.1):
            pytest.fail("two processes hold the lock")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert not entry.busy
        with entry.locked(wait_seconds=0):
            pass


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")
    with held_by_another_process(entry.folder) as process:
        began = time.monotonic()
        threading.Timer(0.3, process.kill).start()
        with entry.locked():
            assert time.monotonic() - began >= 0.3


def test_busy_while_this_process_holds_it(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")
    with entry.locked():
        assert entry.busy
        assert Entry(entry.folder).busy
    assert not entry.busy


def test_a_lock_is_freed_by_an_error(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")
    with pytest.raises(ZeroDivisionError), entry.locked():
        raise ZeroDivisionError
    assert not entry.busy


def test_asking_whether_it_is_busy_takes_the_lock_from_nobody(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")
    with held_by_another_process(entry.folder):
        assert [entry.busy for _ in range(20)] == [True] * 20
