"""Write reports/ from evaluations/: the summary, the answer, the figures and the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vae_likelihoods.cli.terminal import new_app, run
from vae_likelihoods.report.summary import study_axes
from vae_likelihoods.report.writing import ReportFolders, read_params, write
from vae_likelihoods.tracking.registry import register_reported

app = new_app(completion=False)


@app.command()
def report(
    study: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A study; may be given again. Reported in reports/NAME/ of the first one."
        ),
    ] = None,
    readme: Annotated[Path | None, typer.Option(help="A page whose results section is replaced.")] = None,
    params: Annotated[Path, typer.Option(help="The params.yaml of the studies.")] = Path("params.yaml"),
    runs: Annotated[Path, typer.Option(help="The folder of the trained cells.")] = Path("runs"),
    evaluations: Annotated[Path, typer.Option(help="Of the evaluated cells.")] = Path("evaluations"),
    reports: Annotated[Path, typer.Option(help="Into which the report is written.")] = Path("reports"),
    logs: Annotated[Path, typer.Option(help="That says where the cells were computed.")] = Path("logs"),
) -> None:
    """Write reports/ from evaluations/.

    That is the summary, the answer, the figures and the page.

    \b
    Examples:
      .venv/bin/python pipelines/report.py                      # the default studies of params.yaml
      .venv/bin/python pipelines/report.py --study scratch      # another one, in reports/scratch/
      .venv/bin/python pipelines/report.py --readme README.md   # and the results section of the README
    """
    # The report of the default studies is in git: another study leaves it as it is.
    folder = reports / study[0] if study else reports
    print(write(params, study or [], ReportFolders(runs, evaluations, logs, folder), readme))
    register_reported(runs, evaluations, list(study_axes(read_params(params), study or [])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; return 0, or 1 after one line that says what is missing or damaged."""
    return run(app, arguments, "pipelines/report.py")


if __name__ == "__main__":
    sys.exit(main())
