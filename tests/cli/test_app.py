"""`vae-likelihoods`: its commands, their help and what it costs to start."""

from __future__ import annotations

import importlib
import os
import pty
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from command_line import parse
from vae_likelihoods.cli.app import app, main
from vae_likelihoods.cli.terminal import PROGRAM

PROJECT = Path(__file__).parents[2]
COMMANDS = {
    "answer", "sample", "reconstruct", "encode", "score",
    "recommend", "why", "gc", "sync", "ui", "cells", "verify", "study", "experiment", "translate", "gallery",
}  # fmt: skip
PATHS = [[], *([name] for name in sorted(COMMANDS)), ["cells", "push"], ["cells", "pull"]]
EVERY_HELP = f"""
from vae_likelihoods.cli.app import main
for path in {PATHS}:
    assert main([*path, "--help"]) == 0
"""
each_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: "-".join(path) or PROGRAM)


def test_the_commands_are_those_that_the_documents_name() -> None:
    assert set(typer.main.get_command(app).commands) == COMMANDS


def examples(text: str) -> list[list[str]]:
    """Return the words after the program's name of every example in a help."""
    after = text.partition("Example")[2]
    return [
        shlex.split(line, comments=True) for line in re.findall(rf"^ +{PROGRAM} (.+)$", after, re.MULTILINE)
    ]


@each_path
def test_every_help_has_examples_that_can_be_read(
    path: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    shown = examples(capsys.readouterr().out)
    assert shown
    for words in shown:
        assert words[: len(path)] == path
        parse(words)


def test_every_command_has_its_own_line_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    listed = dict(re.findall(r"^  (\w+) {2,}(\S.*)$", text.partition("Commands:")[2], re.MULTILINE))
    assert set(listed) == COMMANDS
    assert not [line for line in listed.values() if not line.endswith(".") or line.endswith("...")]


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
def test_every_help_is_ascii_where_the_terminal_shows_nothing_else(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVERY_HELP], env={**os.environ, **variables}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert done.stdout.count(b"Usage: ") == len(PATHS)


@pytest.mark.parametrize(
    "words", [["--help"], ["gc", "--help"], ["gc", "--dorp"], ["nonsense"]], ids=" ".join
)
def test_no_colour_is_honoured_on_a_terminal(words: list[str]) -> None:
    screen, terminal = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "vae_likelihoods", *words]
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b""
        while chunk := read(screen):
            shown += chunk
    os.close(screen)
    assert process.returncode == (0 if "--help" in words else 2)
    assert b"vae-likelihoods" in shown
    assert b"\x1b" not in shown


def read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux's way to say that nobody writes any more
        return b""


def test_nothing_slow_is_imported_before_a_command_runs() -> None:
    slow = {"torch", "mlflow", "pandas", "numpy", "matplotlib", "dvc", "fsspec", "rich"}
    program = f"{EVERY_HELP}\nimport sys\nsys.exit(', '.join({slow} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "vae-likelihoods: Missing command; see vae-likelihoods --help"),
        (["gx"], "vae-likelihoods: No such command 'gx'; see vae-likelihoods --help"),
        (["cells"], "vae-likelihoods cells: Missing command; see vae-likelihoods cells --help"),
        (["why"], "vae-likelihoods why: Missing argument 'A'; see vae-likelihoods why --help"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_code_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = main(words), capsys.readouterr()
    assert (code, printed.out, printed.err) == (2, "", f"{line}\n")


@each_path
def test_an_unknown_option_is_one_line_that_names_it(
    path: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = main([*path, "--nonsense"]), capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (2, "", 1)
    where = " ".join([PROGRAM, *path])
    assert printed.err.startswith(f"{where}: No such option: --nonsense")
    assert printed.err.endswith(f"see {where} --help\n")


def test_the_installed_program_is_the_module() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts[PROGRAM].partition(":")
    assert getattr(importlib.import_module(module), function) is main


@pytest.mark.parametrize(
    ("typed", "offered"), [("g", {"gc", "gallery"}), ("cells p", {"push", "pull"}), ("gc --dr", {"--drop"})]
)
def test_a_shell_completes_commands_and_options(typed: str, offered: set[str]) -> None:
    words = f"{PROGRAM} {typed}"
    variables = {
        "_VAE_LIKELIHOODS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-m", "vae_likelihoods"],
        env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) == offered
