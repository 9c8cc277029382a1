"""How the command line is read, without being run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from vae_likelihoods.cli.app import app
from vae_likelihoods.cli.terminal import PROGRAM


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that a command would get; what it would refuse to read is raised."""
    command, context, name, rest = typer.main.get_command(app), None, PROGRAM, list(words)
    while hasattr(command, "resolve_command"):
        context = command.make_context(name, rest, parent=context)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    return command.make_context(name, rest, parent=context).params
