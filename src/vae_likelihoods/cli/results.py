"""The commands about studies and experiments: recommend, study, experiment, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_likelihoods.cli.options import PARAMS, Params, Root
from vae_likelihoods.cli.terminal import printable
from vae_likelihoods.files import PROJECT


def recommend(
    study: Annotated[str, typer.Option(metavar="NAME", help="The study, a folder of evaluations/.")],
    root: Root = PROJECT,
    params: Params = PARAMS,
) -> None:
    """Print the likelihood and latent size that a study recommends.

    One paragraph and one table, made of evaluations/<study>/; nothing is written.

    \b
    Example:
      vae-likelihoods recommend --study grey
    """
    from vae_likelihoods.report.printing import recommendation
    from vae_likelihoods.report.writing import read_params

    print(recommendation(study, root, read_params(params), printable, params.parent))


def study(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="The name of a study under `optional` in params.yaml.")
    ],
    params: Params = PARAMS,
) -> None:
    """Run an optional study of params.yaml.

    DVC first runs what it needs, and skips what is up to date.

    \b
    Example:
      vae-likelihoods study likelihoods
    """
    from vae_likelihoods.sweeps.optional import repro

    repro(name, params)


def experiment(
    name: Annotated[str, typer.Argument(help="The name of a YAML file in conf/experiment.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Further settings, for every cell.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Run nothing; print what was evaluated.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page into which the table is also written.")
    ] = None,
) -> None:
    """Repeat a published protocol.

    Trains its grid, evaluates it, and prints our numbers beside the paper's.

    \b
    Examples:
      vae-likelihoods experiment iwae
      vae-likelihoods experiment iwae-fashion_mnist --output docs/results.md
      vae-likelihoods experiment sigma_vae training.epochs=2 seed=0
    """
    from vae_likelihoods.experiments import running

    running.check(name, output)
    if not table and (code := running.compute(name, overrides or [])) != 0:
        raise typer.Exit(code)
    print(running.table(name, overrides or [], output))


def verify(
    study: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="An optional study; may be given again. Without it: the default ones."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far a number of a float64 study may differ on another machine.")
    ] = 1e-6,
) -> None:
    """Compute the studies of the last commit again, and compare.

    Works in a clean clone of HEAD in the folder for temporary files, with an empty store, a DVC cache and an
    MLflow database of its own. Of the project's folder it uses .venv and nothing else, and writes nothing
    there.

    There are three ways to compare, and a line says which. Where the recorded environment
    (reports/environment.json) and this machine agree: byte for byte, all hashes and files. Elsewhere, for a
    study in float64: number by number, within the tolerance. Any other study elsewhere: setting by setting,
    as another processor is another seed; bits/dim must be what other seeds would give. The clone is removed
    if all is reproduced, else kept.

    \b
    Examples:
      vae-likelihoods verify
      vae-likelihoods verify --study digits
    """
    from vae_likelihoods.verify.last_commit import check

    raise typer.Exit(check(study or [], tolerance))
