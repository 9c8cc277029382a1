"""The commands about the store of results: why, gc, cells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae_likelihoods.cli.options import PARAMS, Params, Root
from vae_likelihoods.cli.terminal import new_app
from vae_likelihoods.files import PROJECT

if TYPE_CHECKING:
    from vae_likelihoods.upkeep.sharing import Copied

Address = Annotated[
    str, typer.Argument(metavar="PLACE", help="A folder, or an address such as s3://bucket/cells.")
]
Store = Annotated[
    Path,
    typer.Option(
        envvar="VAE_LIKELIHOODS_STORE",
        show_default=".cells in the project",
        help="The folder that has the results by key.",
    ),
]

cells = new_app("""Copy finished results to or from a shared folder or bucket.

\b
Examples:
  vae-likelihoods cells push s3://bucket/cells
  vae-likelihoods cells pull /mnt/shared/cells
""")


def why(
    a: Annotated[str, typer.Argument(metavar="A", help="A key, the beginning of a key, or <study>/<cell>.")],
    b: Annotated[
        str | None, typer.Argument(metavar="B", help="What to compare it with, written in the same way.")
    ] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="Ask for the evaluation of a cell, not its training.")
    ] = False,
    root: Root = PROJECT,
    params: Params = PARAMS,
) -> None:
    """Say why a result is not taken from the store.

    With a second key it says what differs between the two.

    <study>/<cell> stands for the key that the present code gives to a cell of params.yaml or of runs/.

    \b
    Examples:
      vae-likelihoods why grey/gaussian-8-0           # against the nearest entries of the store
      vae-likelihoods why grey/gaussian-8-0 3f2a90    # against the entry whose key begins so
    """
    from vae_likelihoods.upkeep.why import reasons

    print("\n".join(reasons(a, b, evaluation, root.absolute(), params)))


def gc(
    drop: Annotated[bool, typer.Option("--drop", help="Remove what is listed.")] = False,
    older_than: Annotated[
        float,
        typer.Option(metavar="DAYS", min=0, show_default=False, help="Only what is older."),
    ] = 0.0,
    root: Root = PROJECT,
    params: Params = PARAMS,
) -> None:
    """List or remove the results in the store that nothing uses.

    A result is used if the present code would take it for a cell of params.yaml, default or optional, or if
    a folder in runs/ or evaluations/ is a copy of it.

    \b
    Examples:
      vae-likelihoods gc
      vae-likelihoods gc --drop --older-than 30
    """
    from vae_likelihoods.upkeep.gc import collect_garbage

    for line in collect_garbage(root.absolute(), params, older_than, drop):
        print(line)


@cells.command()
def push(place: Address, store: Store = PROJECT / ".cells") -> None:
    """Copy every finished result of the store that PLACE does not have.

    \b
    Example:
      vae-likelihoods cells push s3://bucket/cells
    """
    from vae_likelihoods.upkeep import sharing

    _report(sharing.push(store.expanduser().absolute(), place), "pushed", "there")


@cells.command()
def pull(place: Address, store: Store = PROJECT / ".cells") -> None:
    """Copy every result at PLACE that the store does not have.

    \b
    Example:
      vae-likelihoods cells pull /mnt/shared/cells
    """
    from vae_likelihoods.upkeep import sharing

    _report(sharing.pull(store.expanduser().absolute(), place), "pulled", "here")


def _report(result: Copied, verb: str, where: str) -> None:
    for problem in result.problems:
        print(f"cells: {problem}", file=sys.stderr)
    print(f"cells: {result.copied} {verb}, {result.present} were {where}")
    if result.problems:
        raise typer.Exit(1)
