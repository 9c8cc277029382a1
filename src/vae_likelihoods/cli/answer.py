"""The command `answer`: from a folder of images to a likelihood and a latent size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def answer(
    images: Annotated[str, typer.Argument(help="The folder of the images, or a .npy, .npz or .h5 file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Further settings, for every model.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Height and width of all images. Without it they must be alike."),
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time for everything, at least 5.")] = 30.0,
    levels: Annotated[
        int | None, typer.Option(min=2, max=256, help="Values of a pixel. Without it: all there are.")
    ] = None,
    colour: Annotated[str, typer.Option(help="grey, rgb, or auto: as the images are stored.")] = "auto",
    likelihoods: Annotated[
        str, typer.Option(metavar="A,B", help="In the race. Without it: five or six by what the data are.")
    ] = "",
    latents: Annotated[
        str, typer.Option(metavar="N,N", help="Latent sizes in the race. Without it: three by the shape.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the race. The seeds that are scored follow it.")] = 0,
    study: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write data set, choices and study into the project."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of all results. Without it: answers/<name of the images>.")
    ] = None,
    conf: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER", help="Configuration of your own, likelihood/NAME.yaml in it."),
    ] = None,
) -> None:
    """Answer for a folder of images.

    Which likelihood, and how many latents?

    Every likelihood gets the same number of trials and steps, judged on validation images. The best setting
    of each is trained with fresh seeds and scored on test images, which decide nothing before. Ctrl-C
    leaves the best answer so far, and the same command goes on.

    \b
    Examples:
      vae-likelihoods answer ~/photos --size 32 --minutes 30
      vae-likelihoods answer scans.npz --likelihoods beta_binomial,logistic_mixture --latents 4,16
      vae-likelihoods answer ~/photos --size 32 --study photos
    """
    from vae_likelihoods.errors import require
    from vae_likelihoods.search.answering import answer as answered
    from vae_likelihoods.search.request import Request

    require(bool(images.strip()), "images", images, "name the folder of the images")
    request = Request(
        source=Path(images).expanduser(),
        size=size,
        colour=colour,
        levels=levels,
        likelihoods=_listed(likelihoods),
        latents=[_whole(word) for word in _listed(latents)],
        minutes=minutes,
        seed=seed,
        study=study,
        out=out,
        conf=[f"file://{Path(each).expanduser().absolute()}" for each in conf or ()],
        options=overrides or (),
    )
    try:
        print(answered(request, lambda text: print(text, flush=True)))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole(text: str) -> int:
    from vae_likelihoods.errors import SettingError

    try:
        return int(text)
    except ValueError:
        raise SettingError("--latents", text, "must be whole numbers, such as 8,32") from None
