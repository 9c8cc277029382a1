"""How a command ends, and text for terminals that show less than Unicode."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import pytest
import typer

from vae_likelihoods.cli.terminal import ascii_of, new_app, printable, run
from vae_likelihoods.errors import SettingError, UnavailableError

TEXT = "Fréchet 1.5 ± 0.2, σ² – 3 × 4\u00a0%"
PLAIN = "Frechet 1.5 +- 0.2, ?^2 - 3 x 4 %"


class Terminal(io.TextIOWrapper):
    """A stream that keeps what it was sent."""

    def __init__(self, encoding: str) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, write_through=True)


@pytest.fixture
def app() -> typer.Typer:
    commands = new_app("Commands.")

    @commands.command()
    def say() -> None:
        print(TEXT)

    @commands.command()
    def refuse(kind: str) -> None:
        raise {"setting": SettingError("key", 1, TEXT), "server": UnavailableError("no\nanswer")}[kind]

    @commands.command()
    def stop(code: int) -> None:
        raise typer.Exit(code)

    @commands.command()
    def fail() -> None:
        raise ZeroDivisionError("a fault of the program")

    return commands


@pytest.mark.parametrize(
    ("encoding", "locale", "shown"),
    [
        ("utf-8", "", TEXT),
        ("utf-8", "C", PLAIN),
        ("ascii", "", PLAIN),
        ("latin-1", "", "Fréchet 1.5 ± 0.2, ?² - 3 × 4\u00a0%"),
    ],
)
def test_what_a_terminal_cannot_show_is_replaced(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, encoding: str, locale: str, shown: str
) -> None:
    for name in ("PYTHONIOENCODING", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setattr(sys, "stdout", Terminal(encoding))
    assert run(app, ["say"]) == 0
    assert sys.stdout.bytes.getvalue().decode("ascii" if locale else encoding) == f"{shown}\n"
    assert printable(TEXT) == shown


def test_an_encoding_that_was_asked_for_wins(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(sys, "stdout", Terminal("utf-8"))
    assert run(app, ["say"]) == 0
    assert sys.stdout.bytes.getvalue().decode() == f"{TEXT}\n"


def test_every_character_has_a_replacement() -> None:
    for code in [*range(0xD800), *range(0xE000, 0x11000)]:
        replacement = ascii_of(chr(code))
        assert replacement.isascii()
        assert replacement


@pytest.mark.parametrize(
    ("kind", "line"), [("setting", f"refuse: key=1: {TEXT}."), ("server", "refuse: no answer")]
)
def test_a_refusal_is_one_line_with_the_command_and_exit_code_1(
    app: typer.Typer, capsys: pytest.CaptureFixture[str], kind: str, line: str
) -> None:
    code, printed = run(app, ["refuse", kind]), capsys.readouterr()
    assert (code, printed.out, printed.err.replace("\u00a0", " ")) == (
        1,
        "",
        f"{line}\n".replace("\u00a0", " "),
    )


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_command_may_end_with_a_code_of_its_own(app: typer.Typer, code: int) -> None:
    assert run(app, ["stop", str(code)]) == code


def test_a_fault_of_the_program_is_not_hidden(app: typer.Typer) -> None:
    with pytest.raises(ZeroDivisionError):
        run(app, ["fail"])


def test_a_file_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = new_app()

    @commands.command()
    def write() -> None:
        tmp_path.write_text("")  # a folder

    assert run(commands, []) == 1
    assert capsys.readouterr().err == f"vae-likelihoods: {tmp_path}: Is a directory\n"


def test_a_refusal_is_one_line_that_no_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    app = new_app()

    @app.command()
    def refuse() -> None:
        raise SettingError("images", "two\nlines\x1b[31m", "cannot be")

    assert run(app, []) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "lines\\x1b[31m" in said


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = new_app()

    @app.command()
    def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run(app, []) == 1
    assert capsys.readouterr().err.endswith(": No space left on device\n")
