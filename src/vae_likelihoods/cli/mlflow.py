"""The commands about MLflow: sync, ui."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vae_likelihoods.cli.options import Root
from vae_likelihoods.files import PROJECT

Uri = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        show_default="mlflow.db beside the results",
        help="Address of MLflow's store.",
    ),
]


def sync(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY", help="Studies to bring up to date; all if none is named."),
    ] = None,
    root: Root = PROJECT,
    uri: Uri = None,
) -> None:
    """Bring MLflow up to date from the files of the results.

    It reads runs/ and evaluations/ and trains nothing. Use it when the server was down, the database is
    empty, or results came with `dvc pull`.

    \b
    Examples:
      vae-likelihoods sync
      vae-likelihoods sync grey --uri http://127.0.0.1:5000
    """
    from vae_likelihoods.report.words import counted
    from vae_likelihoods.tracking.sync import sync as synced

    code = 0
    for result in synced(root.absolute(), studies or [], uri):
        if result.cells:
            print(f"sync: {result.study}, {counted(result.cells, 'cell')}", flush=True)
        for problem in result.problems:
            print(f"sync: {problem}", file=sys.stderr)
            code = 1
    raise typer.Exit(code)


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = 5000,
    root: Root = PROJECT,
    uri: Uri = None,
) -> None:
    """Open MLflow's UI on 127.0.0.1.

    Prints the address of every study's prepared view.

    \b
    Example:
      vae-likelihoods ui --port 5001
    """
    from vae_likelihoods.tracking.connection import store_uri
    from vae_likelihoods.tracking.server import addresses, serve

    folder = root.absolute()
    address = store_uri(uri, folder)
    for line in addresses(folder, address, port):
        print(line)
    serve(address, port)
