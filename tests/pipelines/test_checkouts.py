"""A copied, moved or linked checkout: nothing runs the sources of one for the results of another."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vae_likelihoods.cli.app import main
from vae_likelihoods.files import PROJECT, other_checkout

SCRIPTS = sorted(path.name for path in (PROJECT / "pipelines").glob("*.py"))
# Stands for python3 and for the python of a .venv: makes a .venv as venv does, and installs as pip does.
PYTHON = """#!/bin/sh
case "$*" in
  "-m venv .venv")
    mkdir -p .venv/bin .venv/lib/python3.12/site-packages
    echo "#!$PWD/.venv/bin/python3" > .venv/bin/pip
    cp "$0" .venv/bin/python ;;
  "-m pip install"*)
    echo "$PWD/src" > .venv/lib/python3.12/site-packages/__editable__.vae_likelihoods-1.pth ;;
esac
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Another checkout: its scripts and sources, whose package is not the imported one."""
    for name in ("pipelines", "conf"):
        shutil.copytree(PROJECT / name, tmp_path / "copy" / name)
    (tmp_path / "copy" / "src" / "vae_likelihoods").mkdir(parents=True)
    return tmp_path / "copy"


def says(line: str, copy: Path) -> None:
    assert f"its sources would be those of {PROJECT}, not of {copy}; run `make setup` in {copy}" in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_script_runs_for_another_checkout(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    copy: Path,
    tmp_path: Path,
    script: str,
) -> None:
    path = copy / "pipelines" / script
    monkeypatch.setattr(sys, "argv", [str(path)])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    code = ended.value.code  # Python prints a text, and then ends with 1
    says(code if isinstance(code, str) else capsys.readouterr().err, copy)
    assert code not in (0, None)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("program", ["{copy}/.venv/bin/vae-likelihoods", "vae-likelihoods"])
def test_no_command_runs_for_another_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], copy: Path, program: str
) -> None:
    if "copy" not in program:
        (copy / "data").mkdir()
        monkeypatch.chdir(copy / "data")
    monkeypatch.setattr(sys, "argv", [program.format(copy=copy), "sync"])
    assert main() == 1
    says(capsys.readouterr().err, copy)


def test_a_link_to_the_checkout_and_a_folder_elsewhere_are_no_other_checkout(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(PROJECT)
    for place in (tmp_path, tmp_path / "link", PROJECT, PROJECT / ".venv" / "bin"):
        assert other_checkout(place) is None


def make_setup(folder: Path) -> str:
    command = ["make", "--no-print-directory", "setup", f"PYTHON={folder.parent / 'python'}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["copied", "moved", "linked"])
def test_make_setup_repairs_what_is_of_another_place(tmp_path: Path, how: str) -> None:
    first, second = tmp_path / "a first", tmp_path / "a second"
    first.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, first)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    assert "-m venv" in make_setup(first)
    assert re.search("Nothing to be done|^$", make_setup(first))
    if how == "moved":
        first.rename(second)
    else:
        shutil.copytree(first, second)
    if how == "linked":
        shutil.rmtree(second / ".venv")
        (second / ".venv").symlink_to(first / ".venv")
    make_setup(second)
    assert f"{second}/.venv" in (second / ".venv" / "bin" / "pip").read_text()
    assert how == "moved" or f"{first}/.venv" in (first / ".venv" / "bin" / "pip").read_text()
    (installed,) = (second / ".venv").glob("lib/*/site-packages/*.pth")
    assert installed.read_text() == f"{second}/src\n"
    installed.write_text(f"{first}/src\n")  # the other way round: installed from elsewhere
    make_setup(second)
    assert installed.read_text() == f"{second}/src\n"
    assert re.search("Nothing to be done|^$", make_setup(second))


def test_a_clone_that_converts_line_endings_has_the_same_files(tmp_path: Path) -> None:
    """The default of Git for Windows; a carriage return in params.yaml would be another parameter."""
    clone = [
        "git",
        "clone",
        "--quiet",
        "--config",
        "core.autocrlf=true",
        str(PROJECT),
        str(tmp_path / "clone"),
    ]
    subprocess.run(clone, check=True)
    texts = [path for path in (tmp_path / "clone").rglob("*") if path.is_file() and ".git" not in path.parts]
    assert {"Makefile", "params.yaml", "run", "train.py", "config.yaml"} <= {path.name for path in texts}
    assert [
        path for path in texts if path.suffix not in (".png", ".webp") and b"\r\n" in path.read_bytes()
    ] == []
