"""How a command line ends, and what a terminal can show: one line for an error, ASCII if need be."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TextIO

import typer

from vae_likelihoods.errors import SettingError, UnavailableError
from vae_likelihoods.files import not_of, other_checkout, shown

PROGRAM = "vae-likelihoods"
REPLACEMENTS = {"±": "+-", "²": "^2", "–": "-", "—": "-", "−": "-", "×": "x"}
_FULL = (errno.ENOSPC, errno.EDQUOT)  # a write that fails for these names no file
_ASCII = f"{PROGRAM}-ascii"


def run(app: typer.Typer, arguments: Sequence[str] | None, program: str = PROGRAM) -> int:
    """Run a command line and return its exit code.

    A request that cannot be fulfilled is one line on stderr and exit code 1, one that cannot be understood
    is one line and exit code 2.

    Args:
        app: the commands.
        arguments: the words after the program's name; None: those that the process was given.
        program: what the help calls it.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        _replace_unprintable(stream)
    command = typer.main.get_command(app)
    # Where a process was started, and by which .venv; what is called in process has neither.
    for place in (Path(sys.argv[0]).absolute().parent, Path.cwd()) if arguments is None else ():
        if checkout := other_checkout(place):
            return _refuse(PurePath(program).name, not_of(checkout), 1)
    name = next((word for word in words if word in getattr(command, "commands", ())), PurePath(program).stem)
    try:
        code = command.main(words, prog_name=program, standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = program if context is None else context.command_path
        reason = error.format_message().removesuffix(".")
        return _refuse(path, f"{reason}; see {path} --help", error.exit_code)
    except (SettingError, UnavailableError) as error:
        return _refuse(name, str(error), 1)
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        return _refuse(name, f"{where}{error.strerror}", 1)
    return code if isinstance(code, int) else 0


def new_app(summary: str | None = None, completion: bool = True) -> typer.Typer:
    """Return an app without commands, whose help is plain text; `completion` adds options that install it."""
    return typer.Typer(
        help=summary,
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"], "color": False},
    )


def printable(text: str) -> str:
    """Return `text` as stdout can show it, for what is aligned in columns before it is printed."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, _ASCII).decode(encoding)


def ascii_of(character: str) -> str:
    """Return what stands for a character in ASCII.

    Example:
        >>> "".join(map(ascii_of, "é±²…"))
        'e+-^2...'
    """
    plain = REPLACEMENTS.get(character) or unicodedata.normalize("NFKD", character)
    return plain.encode("ascii", "ignore").decode() or "?"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(ascii_of, error.object[error.start : error.end])), error.end


codecs.register_error(_ASCII, _replaced)


def _replace_unprintable(stream: TextIO) -> None:
    """Replace what `stream` cannot encode; in the C locale Python writes UTF-8, a terminal shows ASCII."""
    if isinstance(stream, io.TextIOWrapper):
        chosen = {"PYTHONIOENCODING", "PYTHONUTF8"} & os.environ.keys()
        c_locale = os.environ.get("LC_ALL") in ("C", "POSIX") and not chosen
        stream.reconfigure(encoding="ascii" if c_locale else None, errors=_ASCII)


def _refuse(name: str, reason: str, code: int) -> int:
    print(f"{name}: {shown(' '.join(reason.split()))}", file=sys.stderr)
    return code
