"""Files are whole or absent, whatever happens to the process that writes them."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vae_likelihoods.files import (
    DAY_SECONDS,
    folder_aside,
    sha256,
    shown,
    write_json,
    write_text,
    write_whole,
)

HALF_WRITER = """
import sys, time
from pathlib import Path
from vae_likelihoods.files import write_whole

def write(aside):
    with aside.open("wb") as handle:
        handle.write(b"new " * 1000)
        handle.flush()
        print("half", flush=True)
        time.sleep(60)

write_whole(Path(sys.argv[1]), write)
"""
HALF_FOLDER = """
import sys, time
from pathlib import Path
from vae_likelihoods.files import DAY_SECONDS, folder_aside

with folder_aside(Path(sys.argv[1])) as aside:
    (aside / "a").write_text("new")
    print("half", flush=True)
    time.sleep(60)
"""


def killed_in_the_middle(script: str, path: Path) -> None:
    """Run `script` until it prints that it is half way, then kill it as the out-of-memory killer would."""
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "result.txt"
    path.write_text("old")
    return path


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    target = tmp_path / "cell"
    target.mkdir()
    (target / "old").write_text("old")
    return target


def test_write_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    for text in ("first", "second, longer", "ü"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert list(path.parent.iterdir()) == [path]


def test_the_file_aside_keeps_its_ending(tmp_path: Path) -> None:
    """PIL and numpy choose the format by it."""
    paths: list[Path] = []

    def write(aside: Path) -> None:
        paths.append(aside)
        aside.touch()

    write_whole(tmp_path / "grid.png", write)
    assert paths[0].suffix == ".png"
    assert paths[0].parent == tmp_path
    assert paths[0].name.startswith(".")


def raise_at_once(aside: Path) -> None:
    raise RuntimeError("no")


def raise_half_way(aside: Path) -> None:
    aside.write_text("half")
    raise RuntimeError("no")


def interrupted(aside: Path) -> None:
    aside.write_text("half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [raise_at_once, raise_half_way, interrupted])
def test_an_error_leaves_the_old_file_and_nothing_else(old: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        write_whole(old, write)
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_an_error_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_whole(tmp_path / "new", raise_half_way)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_the_old_file_whole(old: Path) -> None:
    killed_in_the_middle(HALF_WRITER, old)
    assert old.read_text() == "old"
    assert visible(old.parent) == ["result.txt"]  # a half-written file is hidden
    write_text(old, "newer")
    assert old.read_text() == "newer"


def test_a_killed_process_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    killed_in_the_middle(HALF_WRITER, tmp_path / "new")
    assert visible(tmp_path) == []


def test_json_keeps_order_and_floats(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": 0.1 + 0.2, "a": [1, None, "é"]})
    assert (tmp_path / "x.json").read_text() == (
        '{\n  "b": 0.30000000000000004,\n  "a": [\n    1,\n    null,\n    "\\u00e9"\n  ]\n}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, object()])
def test_a_value_that_is_no_json_is_refused_and_leaves_the_old_file(old: Path, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(old, {"value": value})
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_a_folder_replaces_the_old_one(old_folder: Path) -> None:
    with folder_aside(old_folder) as aside:
        assert list(aside.iterdir()) == []
        (aside / "new").write_text("new")
        assert visible(old_folder) == ["old"]  # not before the end
    assert visible(old_folder) == ["new"]
    assert list(old_folder.parent.iterdir()) == [old_folder]


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "a" / "b") as aside:
        (aside / "x").touch()
    assert visible(tmp_path / "a" / "b") == ["x"]
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "b"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_folder_and_nothing_else(
    old_folder: Path, error: type[BaseException]
) -> None:
    def fill() -> None:
        with folder_aside(old_folder) as aside:
            (aside / "new").write_text("half")
            raise error

    with pytest.raises(error):
        fill()
    assert visible(old_folder) == ["old"]
    assert list(old_folder.parent.iterdir()) == [old_folder]


def test_a_killed_process_leaves_the_old_folder_whole(old_folder: Path) -> None:
    killed_in_the_middle(HALF_FOLDER, old_folder)
    assert (old_folder / "old").read_text() == "old"
    assert visible(old_folder) == ["old"]
    assert visible(old_folder.parent) == ["cell"]


def test_leftovers_of_killed_processes_go_after_a_day(old_folder: Path) -> None:
    names = [".cell.yesterday.partial", ".cell.recent.partial", ".other.yesterday.partial"]
    for name in names:
        (old_folder.parent / name).mkdir()
        if "yesterday" in name:
            long_ago = time.time() - DAY_SECONDS - 60
            os.utime(old_folder.parent / name, (long_ago, long_ago))
    with folder_aside(old_folder):
        pass
    assert [name for name in names if (old_folder.parent / name).exists()] == names[1:]


def test_a_leftover_that_another_process_removes_is_no_error(
    old_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process ends after the leftovers were listed and before they are removed."""
    gone = old_folder.parent / ".cell.gone.partial"
    listing = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [*listing(self, pattern), gone])
    with folder_aside(old_folder) as aside:
        (aside / "new").touch()
    assert (old_folder / "new").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Zürich, 東京 (1).png", "Zürich, 東京 (1).png"),
        ("a\nb\x1b[31m.png", "a\\nb\\x1b[31m.png"),
        (b"\xff\xfe.png".decode("utf-8", "surrogateescape"), "\\xff\\xfe.png"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),  # which would be read from right to left
    ],
)
def test_a_name_is_one_line_of_what_can_be_printed_and_written(name: str, expected: str) -> None:
    assert shown(name) == expected
    assert shown(name).isprintable()
    assert shown(shown(name)) == shown(name)
    shown(name).encode()
