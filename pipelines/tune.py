"""Tune a study that has `tune` in params.yaml: its choices go to tune/<study>.yaml, which is in git."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vae_likelihoods.cli.terminal import new_app, run
from vae_likelihoods.files import PROJECT

app = new_app(completion=False)


@app.command()
def tune(
    study: Annotated[str, typer.Option(metavar="NAME", help="A study of params.yaml.")],
    params: Annotated[Path, typer.Option(help="The params.yaml of the studies.")] = PROJECT / "params.yaml",
    root: Annotated[Path, typer.Option(help="The folder of data/ and the store.")] = PROJECT,
    again: Annotated[bool, typer.Option("--again", help="Also if its choices are there already.")] = False,
) -> None:
    """Run the race of a study, and freeze what it chose.

    Every likelihood has the same number of trials and epochs. Trials are judged on the validation images.
    Choices that were frozen stay, until the race would have other trials or other data. A study without
    `tune` gets a file that says so.

    \b
    Example:
      .venv/bin/python pipelines/tune.py --study colour
    """
    from vae_likelihoods.search.command import tune_study

    print(tune_study(study, params, root.absolute(), again))


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the study; return 0, or 1 after one line that says what is wrong."""
    return run(app, arguments, "pipelines/tune.py")


if __name__ == "__main__":
    sys.exit(main())
