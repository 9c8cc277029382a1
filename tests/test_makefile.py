"""The Makefile: its targets, their list, and the commands that they call."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from command_line import parse

PROJECT = Path(__file__).parents[1]
TEXT = (PROJECT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z-]+):", TEXT, re.MULTILINE)


def make(*arguments: str, folder: Path = PROJECT) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_help_lists_every_target_with_a_line() -> None:
    listed = dict(line.split(maxsplit=1) for line in make("help").splitlines())
    assert list(listed) == TARGETS
    assert {len(text) > 5 for text in listed.values()} == {True}


def test_every_target_is_run_whatever_files_there_are() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", TEXT, re.MULTILINE)
    assert set(phony.split()) == set(TARGETS)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["study", "STUDY=likelihoods"], {"name": "likelihoods"}),
        (["recommend", "STUDY=grey"], {"study": "grey"}),
        (["experiment", "NAME=iwae", "OVERRIDES=seed=0 training.epochs=2"],
         {"name": "iwae", "overrides": ["seed=0", "training.epochs=2"]}),
        (["ui"], {"port": 5000}),
        (["ui", "PORT=5001"], {"port": 5001}),
        (["sync"], {"studies": ()}),
        (["why", "A=grey/gaussian-8-0"], {"a": "grey/gaussian-8-0", "b": None, "evaluation": False}),
        (["why", "A=grey/gaussian-8-0", "B=3f2a90", "EVALUATION=yes"], {"b": "3f2a90", "evaluation": True}),
        (["gc"], {"drop": False, "older_than": 0.0}),
        (["gc", "DROP=yes", "DAYS=30"], {"drop": True, "older_than": 30.0}),
        (["gc", "DROP=no"], {"drop": False}),
        (["verify"], {"study": ()}),
        (["verify", "STUDY=digits stability"], {"study": ["digits", "stability"]}),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_target_calls_the_command_of_its_name(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: dict[str, Any]
) -> None:
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    (line,) = re.findall(r"^.*\.venv/bin/vae-likelihoods (.*)$", make("--dry-run", *arguments), re.MULTILINE)
    words = shlex.split(line)
    assert words[0] == arguments[0]
    parsed = parse(words)
    assert {name: parsed[name] for name in expected} == expected


def test_torch_may_come_from_an_index_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path)

    def installs(*arguments: str) -> list[list[str]]:
        lines = make("--dry-run", *arguments, folder=tmp_path).splitlines()
        return [shlex.split(line) for line in lines if "-m pip install" in line]

    (usual,) = installs("setup")
    first, then = installs("setup", "TORCH_INDEX=http://127.0.0.1/cpu wheels")
    assert then == usual
    assert usual[-3:] == ["constraints.txt", "-e", ".[dev]"]
    assert first[-6:] == [
        "-c",
        "constraints.txt",
        "--no-deps",
        "--index-url",
        "http://127.0.0.1/cpu wheels",
        "torch",
    ]
    assert (installs("repro", "TORCH_INDEX="), installs("test")) == ([usual], [usual])


@pytest.mark.parametrize("words", [[], ["IMAGES="], ["IMAGES= "], ["IMAGE=/photos"]], ids=" ".join)
def test_an_answer_to_no_images_is_refused_before_anything_is_set_up(
    tmp_path: Path, words: list[str]
) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    done = subprocess.run(
        ["make", "answer", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "Say which images: make answer IMAGES=/path/to/photos" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


def test_what_is_imported_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "probe.mk").write_text("probe:\n\t@env\n")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("KEPT", "1")
    given = make("-f", "Makefile", "-f", str(tmp_path / "probe.mk"), "probe").splitlines()
    assert "KEPT=1" in given
    assert not any(line.startswith("PYTHONDONTWRITEBYTECODE=") for line in given)
