"""`vae-likelihoods cells`: finished results go to a folder and come back whole, or not at all."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.cli.app import main
from vae_likelihoods.store.entry import DONE, Entry


@pytest.fixture
def copy(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Copy one way between a store of that name and the shared folder."""

    def run(way: str, store: str) -> int:
        return main(["cells", way, str(tmp_path / "shared"), "--store", str(tmp_path / store)])

    return run


def finished(store: Path, seed: int) -> Entry:
    """A finished result of three files, and one that is none."""
    identity = {"settings": {"seed": seed, "lr": 1e-3}}
    entry = Entry(store / key_of(identity))
    with entry.locked():
        (entry.folder / "grids").mkdir()
        (entry.folder / "identity.json").write_text(json.dumps(identity, indent=2))
        (entry.folder / "weights").write_bytes(bytes([seed, 0, 255]))
        (entry.folder / "grids" / "a.png").write_bytes(b"picture")
        (entry.folder / "timings.csv").write_text("no result")
        entry.finish(["weights", "grids/a.png"])
    return entry


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "timings.csv")
    }


@pytest.fixture
def two(tmp_path: Path) -> list[Entry]:
    """Two finished results in the store `here`."""
    return [finished(tmp_path / "here", seed) for seed in (0, 1)]


def test_results_are_copied_once_and_are_the_same(copy, two, tmp_path, capsys) -> None:
    assert [copy("push", "here"), copy("push", "here")] == [0, 0]
    assert [copy("pull", "there"), copy("pull", "there")] == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "cells: 2 pushed, 0 were there",
        "cells: 0 pushed, 2 were there",
        "cells: 2 pulled, 0 were here",
        "cells: 0 pulled, 2 were here",
    ]
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert all(Entry(tmp_path / "there" / entry.folder.name).done() for entry in two)


def test_only_what_is_finished_and_whole_is_pushed(copy, two, tmp_path, capsys) -> None:
    (two[0].folder / "weights").write_bytes(b"damaged")
    with Entry(tmp_path / "here" / ("0" * 64)).locked():
        (tmp_path / "here" / ("0" * 64) / "history.csv").write_text("begun")
    assert copy("push", "here") == 0
    assert [path.stem for path in (tmp_path / "shared").iterdir()] == [two[1].folder.name]


def test_a_damaged_result_is_replaced_by_the_shared_one(copy, two) -> None:
    copy("push", "here")
    whole = files_of(two[0].folder)
    (two[0].folder / "weights").write_bytes(b"damaged")
    (two[0].folder / "failure.txt").write_text("of an earlier attempt")
    assert copy("pull", "here") == 0
    assert files_of(two[0].folder) == whole


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-30])


def change_a_file(archive: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(archive, "w") as target:
        for name, content in {**members, "weights": b"others"}.items():
            target.writestr(name, content)


def drop_its_identity(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr(DONE, "{}")


def take_the_name_of_another(archive: Path) -> None:
    [other] = [path for path in archive.parent.iterdir() if path != archive]
    archive.write_bytes(other.read_bytes())


@pytest.mark.parametrize("harm", [cut, change_a_file, drop_its_identity, take_the_name_of_another])
def test_a_damaged_zip_is_named_and_the_others_are_pulled(copy, two, tmp_path, capsys, harm) -> None:
    copy("push", "here")
    harmed, other = (entry.folder.name for entry in two)
    harm(tmp_path / "shared" / f"{harmed}.zip")
    assert copy("pull", "there") == 1
    printed = capsys.readouterr()
    assert printed.err == f"cells: {harmed}.zip is damaged; delete it there\n"
    assert printed.out.endswith("cells: 1 pulled, 0 were here\n")
    assert files_of(tmp_path / "there" / harmed) == {}
    assert Entry(tmp_path / "there" / other).done()
    assert not list((tmp_path / "there").glob(".*"))


def test_what_is_computed_right_now_is_left_alone(copy, two, tmp_path, capsys) -> None:
    copy("push", "here")
    busy = Entry(tmp_path / "there" / two[0].folder.name)
    with busy.locked():
        assert copy("pull", "there") == 1
        assert "is being computed by another process" in capsys.readouterr().err
        assert files_of(busy.folder) == {}
    assert copy("pull", "there") == 0
    assert busy.done()


@pytest.mark.parametrize(
    ("place", "message"),
    [("nowhere", "FileNotFoundError"), ("nonsense://x/y", "Protocol not known: nonsense")],
)
def test_a_place_that_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cells", "pull", place, "--store", str(tmp_path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cells: {place}: ")
    assert message in line


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_an_empty_place_is_refused(copy, two, tmp_path, capsys, direction: str) -> None:
    """As of a variable of the shell that is not set: it would be the working folder."""
    assert main(["cells", direction, " ", "--store", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("cells: place= : is empty; need a folder")
    assert not list(tmp_path.glob("*.zip"))


def test_a_place_that_needs_more_packages_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert main(["cells", "push", "s3://bucket/cells", "--store", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert ".venv/bin/python -m pip install -c constraints.txt -e '.[s3]'" in line
