"""All commands of `vae-likelihoods`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from vae_likelihoods.cli.answer import answer
from vae_likelihoods.cli.losses import gallery, translate
from vae_likelihoods.cli.mlflow import sync, ui
from vae_likelihoods.cli.models import encode, reconstruct, sample, score
from vae_likelihoods.cli.results import experiment, recommend, study, verify
from vae_likelihoods.cli.store import cells, gc, why
from vae_likelihoods.cli.terminal import PROGRAM, new_app, run

SUMMARY = """Compare VAE likelihoods: what your images want, what a study recommends, how it was computed.

COMMAND --help says what a command does, with an example.

\b
Examples:
  vae-likelihoods answer ~/photos --size 32 --minutes 30
  vae-likelihoods recommend --study grey
  vae-likelihoods why grey/gaussian-8-0
"""

app = new_app(SUMMARY)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@app.callback(help=SUMMARY)
def options(
    shown: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options of the program itself."""


for command in (
    answer,
    sample,
    reconstruct,
    encode,
    score,
    recommend,
    why,
    gc,
    sync,
    ui,
    verify,
    study,
    experiment,
    translate,
    gallery,
):
    app.command(command.__name__)(command)
app.add_typer(cells, name="cells")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vae-likelihoods`; return its exit code."""
    return run(app, arguments)
