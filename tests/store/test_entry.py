"""The cell store: what counts as done, and a lock that dies with its process."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from vae_likelihoods import files
from vae_likelihoods.files import sha256
from vae_likelihoods.store.entry import DONE, FAILURE, IDENTITY, LOCK, BusyError, DamagedError, Entry

HOLDER = """
import sys, time
from pathlib import Path
from vae_likelihoods.store.entry import Entry

with Entry(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


LAYER = """
import sys
from pathlib import Path
from vae_likelihoods import files
from vae_likelihoods.store.entry import Entry

if sys.argv[4] == "in two steps":
    files._exchanged = lambda left, right: False
entry, target = Entry(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    entry.lay_out(target, {"config.yaml": entry.folder.name})
"""

REMOVER = """
import os, sys, time
from pathlib import Path
from vae_likelihoods.store.entry import Entry

entry = Entry(Path(sys.argv[1]))
for turn in range(100):
    with entry.locked():
        os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))  # fails if another one holds the lock too
        (entry.folder / "weights").write_text("x")
        entry.finish(["weights"])
        if turn % 2:
            os.unlink(sys.argv[2])  # the lock goes with the entry, inside of remove
            entry.remove()
        else:
            os.unlink(sys.argv[2])
"""

# Does something again and again, each time in a process that is killed one step later, until it gets through.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from vae_likelihoods.files import hashes
from vae_likelihoods.store.entry import DONE, Entry

def die_at(step):
    left = iter(range(step))
    def hook(event, arguments):
        counts = event.partition(".")[0] in ("os", "open", "shutil", "tempfile") and event != "os.kill"
        if counts and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def until_it_gets_through(before, act, look):
    step, status = 0, -1
    while status != 0:
        before()
        child = os.fork()
        if child == 0:
            die_at(step)
            act()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        print(json.dumps(look()))
        step += 1
"""
KILLED_WHILE_IT_LAYS_OUT = (
    KILLED
    + """
old, new, target = Entry(Path(sys.argv[1])), Entry(Path(sys.argv[2])), Path(sys.argv[3])
until_it_gets_through(
    lambda: old.lay_out(target, {"config.yaml": "old"}),
    lambda: new.lay_out(target, {"config.yaml": "new"}),
    lambda: hashes(target),
)
"""
)
KILLED_WHILE_IT_REMOVES = (
    KILLED
    + """
entry = Entry(Path(sys.argv[1]))

def finish():
    with entry.locked():
        (entry.folder / "grids").mkdir(exist_ok=True)
        for name in ("weights", "grids/a.png"):
            (entry.folder / name).write_text(name)
        entry.finish(["weights", "grids/a.png"])

def remove():
    with entry.locked(wait_seconds=0):
        entry.remove()

until_it_gets_through(
    finish, remove, lambda: [entry.folder.exists(), entry.finished, entry.done(), entry.busy]
)
"""
)


@contextmanager
def held_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with started_holder(folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@contextmanager
def started_holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """A finished result of two files."""
    unfinished = Entry(tmp_path / ".cells" / "key")
    with unfinished.locked():
        (unfinished.folder / "grids").mkdir()
        (unfinished.folder / "weights").write_bytes(b"\x00\x01\x02")
        (unfinished.folder / "grids" / "a.png").write_bytes(b"picture")
        (unfinished.folder / "scratch").write_text("no result")
        unfinished.finish(["weights", "grids/a.png"])
    return unfinished


def finished(folder: Path, content: bytes) -> Entry:
    """A result of three files that all have the same content."""
    unfinished = Entry(folder)
    with unfinished.locked():
        (unfinished.folder / "grids").mkdir()
        for name in ("weights", "history", "grids/a.png"):
            (unfinished.folder / name).write_bytes(content)
        unfinished.finish(["weights", "history", "grids/a.png"])
    return unfinished


def laid_out(entry: Entry) -> dict[str, bytes]:
    """What `LAYER` lays out of `entry`."""
    return {**{name: (entry.folder / name).read_bytes() for name in entry.files()},
            "config.yaml": entry.folder.name.encode()}  # fmt: skip


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
def test_a_damaged_done_is_never_taken(entry: Entry, tmp_path: Path, damage: bytes) -> None:
    (entry.folder / DONE).write_bytes(damage)
    refuses(entry, tmp_path)


@pytest.mark.parametrize("name", ["../x", "grids/../../x", "{folder}/../x", "link", "links/x", ""])
def test_a_done_that_names_what_is_outside_is_never_taken(entry: Entry, tmp_path: Path, name: str) -> None:
    outside = entry.folder.parent / "x"
    outside.write_text("no result")
    (entry.folder / "link").symlink_to(outside)
    (entry.folder / "links").symlink_to(outside.parent)
    files = json.loads((entry.folder / DONE).read_text())
    files[name.format(folder=entry.folder)] = sha256(outside)
    (entry.folder / DONE).write_text(json.dumps(files))
    refuses(entry, tmp_path)


def test_links_in_a_circle_are_never_taken(entry: Entry, tmp_path: Path) -> None:
    (entry.folder / "weights").unlink()
    (entry.folder / "weights").symlink_to("weights")
    refuses(entry, tmp_path)


def refuses(entry: Entry, tmp_path: Path) -> None:
    assert not entry.done()
    with pytest.raises(DamagedError):
        entry.lay_out(tmp_path / "runs" / "cell", {})
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == []
    assert {path.name for path in tmp_path.iterdir()} <= {".cells", "runs"}


def test_files_beside_the_result_do_not_count(entry: Entry) -> None:
    (entry.folder / "scratch").write_text("changed")
    (entry.folder / "more").touch()
    assert entry.done()


def test_forgetting_takes_done_and_failure(entry: Entry) -> None:
    entry.fail("broken")
    entry.forget()
    assert not entry.done()
    assert entry.failure is None
    assert (entry.folder / "weights").exists()  # a checkpoint may be of use
    entry.forget()  # with nothing there


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
    assert list(tmp_path.glob(".cell.*")) == []


def test_lay_out_replaces_a_file_and_a_link(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        entry.lay_out(tmp_path / name, {})
        assert set(files_of(tmp_path / name)) == {"weights", "grids/a.png"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_lay_out_leaves_the_very_same_files_as_they_are(entry: Entry, tmp_path: Path) -> None:
    target = tmp_path / "runs" / "cell"
    entry.lay_out(target, {"config.yaml": "old"})
    before = target.stat().st_ino
    entry.lay_out(target, {"config.yaml": "old"})
    assert target.stat().st_ino == before
    entry.lay_out(target, {"config.yaml": "new"})
    assert (target / "config.yaml").read_text() == "new"


@pytest.mark.parametrize("damage", ["absent", "changed"])
def test_what_is_damaged_after_it_was_checked_is_not_laid_out(
    entry: Entry, tmp_path: Path, damage: str
) -> None:
    target = tmp_path / "runs" / "cell"
    entry.lay_out(target, {"config.yaml": "old"})
    before = files_of(target)
    assert entry.done()
    if damage == "absent":
        (entry.folder / "weights").unlink()
    else:
        (entry.folder / "weights").write_bytes(b"\x00\x01\x03")
    with pytest.raises(DamagedError, match="weights is "):
        entry.lay_out(target, {"config.yaml": "new"})
    assert files_of(target) == before
    assert list(target.parent.iterdir()) == [target]


def test_a_process_killed_at_any_step_of_laying_out_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    old, new = finished(tmp_path / "old", b"old" * 9), finished(tmp_path / "new", b"new" * 9)
    target = tmp_path / "runs" / "cell"
    states = steps(KILLED_WHILE_IT_LAYS_OUT, old.folder, new.folder, target)
    hashed = [
        {name: hashlib.sha256(content).hexdigest() for name, content in laid_out(entry).items()}
        for entry in (old, new)
    ]
    assert [each for each in states if each not in hashed] == []
    assert states.count(hashed[0]) > 5
    assert states.count(hashed[1]) > 5  # what was replaced is removed after the new is in place
    assert states[-1] == hashed[1]


def steps(program: str, *arguments: Path) -> list[Any]:
    """Return what `program` saw after each time that it was killed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def laying_out(
    *entries: Entry, target: Path, times: int, how: str = ""
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each of `entries` that lays it out again and again."""
    commands = [
        [sys.executable, "-c", LAYER, str(entry.folder), str(target), str(times), how] for entry in entries
    ]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_process_killed_while_it_copies_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Files so large that most kills hit a copy."""
    entries = [finished(tmp_path / name, name[:1].encode() * 10_000_000) for name in ("a", "b")]
    target = tmp_path / "runs" / "cell"
    entries[0].lay_out(target, {"config.yaml": "a"})
    whole = [laid_out(entry) for entry in entries]
    draw, in_the_middle = random.Random(0), 0
    for turn in range(10):
        with laying_out(entries[turn % 2], target=target, times=1) as (process,):
            time.sleep(draw.uniform(0, 0.15))
        in_the_middle += process.returncode == -signal.SIGKILL
        assert files_of(target) in whole
    assert in_the_middle > 0


@pytest.mark.parametrize("how", ["in one step", "in two steps"])
def test_processes_that_lay_out_the_same_target_at_once_neither_fail_nor_mix(
    tmp_path: Path, how: str
) -> None:
    entries = [finished(tmp_path / name, name.encode() * 1000) for name in ("a", "b")]
    target = tmp_path / "runs" / "cell"
    entries[0].lay_out(target, {"config.yaml": "a"})
    looks, absent, mixed = 0, 0, []
    with laying_out(*entries, target=target, times=300, how=how) as processes:
        while any(process.poll() is None for process in processes):
            looks += 1
            try:
                mixed += mixed_in(target)
            except FileNotFoundError:
                absent += 1
        for process in processes:
            assert process.stderr is not None
            assert process.returncode == 0, process.stderr.read()
    assert mixed == []
    assert looks > 100
    if how == "in one step" and can_exchange(tmp_path):
        assert absent == 0
    assert files_of(target) in [laid_out(entry) for entry in entries]
    assert list(target.parent.iterdir()) == [target]


def mixed_in(target: Path) -> list[set[bytes]]:
    """Look into the folder that stands at `target` now, wherever it goes meanwhile."""
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        states = set()
        for name in ("weights", "history", "grids/a.png", "config.yaml"):
            with suppress(FileNotFoundError):  # replaced, and being removed
                content = os.open(name, os.O_RDONLY, dir_fd=folder)
                states.add(os.read(content, 1))
                os.close(content)
        return [states] if len(states) > 1 else []
    finally:
        os.close(folder)


def can_exchange(folder: Path) -> bool:
    for name in ("left", "right"):
        (folder / name).mkdir()
    return files._exchanged(folder / "left", folder / "right")


def test_remove_leaves_nothing_and_needs_nothing_but_the_folder(entry: Entry) -> None:
    (entry.folder / "link").symlink_to(entry.folder.parent)
    with entry.locked():
        entry.remove()
    assert not entry.folder.exists()
    assert entry.folder.parent.exists()
    with entry.locked(wait_seconds=0):
        entry.remove()
    assert not entry.folder.exists()


def test_what_another_process_begins_while_an_entry_is_removed_stays(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name == LOCK:
            path.touch()  # as another process does that waits for the entry

    with entry.locked(), monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlinked)
        entry.remove()
    assert set(files_of(entry.folder)) == {LOCK}


def test_a_process_killed_at_any_step_of_removing_leaves_nothing_that_looks_done(tmp_path: Path) -> None:
    states = steps(KILLED_WHILE_IT_REMOVES, tmp_path / "key")
    assert all(finished == done for _, finished, done, _ in states)
    assert not any(busy for *_, busy in states)
    assert len([done for _, _, done, _ in states if done]) < len(states) / 2
    assert states[-1] == [False, False, False, False]


def test_one_process_at_a_time_holds_a_lock_that_is_removed_again_and_again(tmp_path: Path) -> None:
    """A lock file that went with its entry guards nothing: who waited for it must find the new one."""
    command = [sys.executable, "-c", REMOVER, str(tmp_path / "store" / "key"), str(tmp_path / "held")]
    with ExitStack() as running:
        processes = []
        for _ in range(3):
            process = running.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            running.callback(process.kill)
            processes.append(process)
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors


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


def describe(value: int) -> dict[str, int]:
    return {"value": value}


def written(folder: Path) -> list[str]:
    (folder / "weights").write_text("good")
    return ["weights"]


def never(folder: Path) -> list[str]:
    raise AssertionError("it is there already")


def read(entry: Entry) -> str:
    return (entry.folder / "weights").read_text()


def test_a_result_is_computed_once_and_used_under_its_lock(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")

    def use(entry: Entry) -> str:
        assert entry.busy
        assert entry.done()
        return read(entry)

    assert entry.once(describe(1), written, use) == "good"
    assert json.loads((entry.folder / IDENTITY).read_text()) == {"value": 1}
    assert not entry.busy
    assert entry.once(describe(2), never, use) == "good"
    assert json.loads((entry.folder / IDENTITY).read_text()) == {"value": 1}


def test_a_use_that_finds_the_result_damaged_has_it_computed_again(tmp_path: Path) -> None:
    entry, uses = Entry(tmp_path / "key"), []
    entry.once(describe(1), written, read)

    def use(entry: Entry) -> str:
        uses.append(read(entry))
        if len(uses) == 1:
            raise DamagedError("changed since it was checked")
        return uses[-1]

    assert entry.once(describe(1), written, use) == "good"
    assert uses == ["good", "good"]


def test_what_a_computation_raises_is_recorded_with_its_context_and_raised(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "key")

    def broken(folder: Path) -> list[str]:
        (folder / "half").touch()
        raise ArithmeticError("no good")

    with pytest.raises(ArithmeticError, match="no good"):
        entry.once(describe(1), broken, read, context="levels: 2")
    first, *_, last = (entry.failure or "").splitlines()
    assert (first, last) == ("ArithmeticError: no good", "levels: 2")
    assert (entry.folder / "half").exists()  # the next attempt may go on from it
    assert not entry.finished
    assert entry.once(describe(1), written, read) == "good"
    assert entry.failure is None


def test_taking_uses_what_is_whole_and_forgets_the_rest(tmp_path: Path) -> None:
    entry, texts = Entry(tmp_path / "key"), []
    assert not entry.take(lambda entry: texts.append(read(entry)))
    entry.once(describe(1), written, read)
    assert entry.take(lambda entry: texts.append(read(entry)))
    assert texts == ["good"]
    (entry.folder / "weights").write_text("bad!")
    assert not entry.take(lambda entry: texts.append(read(entry)))
    assert texts == ["good"]
    assert not entry.finished
    entry.fail("broken")
    assert not entry.take(read)
    assert entry.failure is None
    with entry.locked(), pytest.raises(BusyError):
        Entry(entry.folder).take(read, wait_seconds=0)


def test_an_adopted_result_is_whole(tmp_path: Path) -> None:
    other, entry = Entry(tmp_path / "other"), Entry(tmp_path / "key")
    other.once(describe(1), written, read)
    entry.fail("broken")
    with entry.locked():
        entry.adopt(other.folder)
    assert entry.done()
    assert entry.failure is None
    assert entry.once(describe(1), never, read) == "good"
