"""Record what was evaluated of a default study: evaluations/<study>/ -> evaluations/.default/<study>.json."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vae_likelihoods.cli.terminal import new_app, run
from vae_likelihoods.report.evaluated import record

app = new_app(completion=False)


@app.command()
def evaluated(
    study: Annotated[str, typer.Option(metavar="NAME", help="A default study of params.yaml.")],
    evaluations: Annotated[Path, typer.Option(help="The folder of the evaluated cells.")] = Path(
        "evaluations"
    ),
    tune: Annotated[Path, typer.Option(help="The folder of what tuning chose.")] = Path("tune"),
) -> None:
    """Record what was evaluated of a default study.

    The stage `report` depends on the records, and so waits for every study.

    \b
    Example:
      .venv/bin/python pipelines/evaluated.py --study grey
    """
    print(record(evaluations, study, tune).as_posix())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the record; return 0, or 1 after one line that says what is missing."""
    return run(app, arguments, "pipelines/evaluated.py")


if __name__ == "__main__":
    sys.exit(main())
