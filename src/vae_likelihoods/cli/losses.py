"""The commands about other people's losses: translate, gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vae_likelihoods.cli.options import Root
from vae_likelihoods.files import PROJECT


def translate(
    loss: Annotated[str, typer.Option(help="What R is: mse (squared error) or bce (binary cross-entropy).")],
    reduction: Annotated[str, typer.Option(help="How R is reduced over pixels and channels: sum or mean.")],
    shape: Annotated[
        str | None, typer.Option(metavar="HxWxC", help="Shape of an image, such as 64x64x3.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(metavar="D", help="Pixels times channels, instead of --shape.")
    ] = None,
    reconstruction_weight: Annotated[float, typer.Option(help="Weight of R in the loss.")] = 1.0,
    kl_weight: Annotated[float, typer.Option(help="Weight of the KL in the loss.")] = 1.0,
    kl_reduction: Annotated[
        str, typer.Option(help="How the KL is reduced over latents: sum or mean.")
    ] = "sum",
    latent_dim: Annotated[
        int | None, typer.Option(help="Number of latents; needed for --kl-reduction mean.")
    ] = None,
    pixel_range: Annotated[
        tuple[float, float], typer.Option(metavar="LOW HIGH", help="Values of black and white, such as -1 1.")
    ] = (0.0, 1.0),
    levels: Annotated[int, typer.Option(help="Number of values that a pixel can have: 2 if binary.")] = 256,
    reconstruction: Annotated[
        float | None,
        typer.Option(help="R as it was logged, reduced and not weighted. With --kl it gives the ELBO."),
    ] = None,
    kl: Annotated[
        float | None, typer.Option(help="The KL as it was logged, reduced and not weighted.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Say which likelihood a loss is.

    The loss is reconstruction_weight * R + kl_weight * KL, averaged over images.

    \b
    What a loop does with a batch of B images        How to say it here (B, L: write the number)
      reduction="mean", KL averaged over the batch     --reduction mean
      reduction="mean", KL summed over the batch       --reduction mean --kl-weight B
      reduction="sum", KL summed over the batch        --reduction sum
      "batchmean": both summed, then divided by B      --reduction sum
      reduction="sum", KL averaged over the batch      --reduction sum --reconstruction-weight B
      half the squared error                           --reconstruction-weight 0.5
      KL averaged over L latents                       --kl-reduction mean --latent-dim L
    Logged values go in as averages over images: divide by B what was summed over the batch.

    \b
    Example:
      vae-likelihoods translate --loss mse --reduction mean --kl-weight 0.00025 --shape 64x64x3
    """
    from vae_likelihoods.translate.command import answer

    settings = {
        "loss": loss,
        "reduction": reduction,
        "dimensions": dimensions,
        "reconstruction_weight": reconstruction_weight,
        "kl_weight": kl_weight,
        "kl_reduction": kl_reduction,
        "latent_dim": latent_dim,
        "pixel_range": pixel_range,
        "levels": levels,
        "reconstruction": reconstruction,
        "kl": kl,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    print(answer(given, shape, json))


def gallery(
    dataset: Annotated[str, typer.Option(help="Name of a prepared data set.")] = "mnist5k",
    rows: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Compute only this row; may be given again.")
    ] = None,
    cheap: Annotated[bool, typer.Option("--cheap", help="Leave out the rows that train.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A page into which the table is also written.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    root: Root = PROJECT,
) -> None:
    """Compute the gallery of wrong losses.

    Prints a Markdown table when all rows are computed.

    \b
    Examples:
      vae-likelihoods gallery --output docs/gallery.md
      vae-likelihoods gallery --cheap --rows last_bin --rows missing_half
    """
    from vae_likelihoods.gallery.computing import gallery as table

    print(table(dataset, rows or [], cheap, seed, root, output))
