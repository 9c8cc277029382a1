"""The commands that use a trained model: sample, reconstruct, encode, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vae_likelihoods.datasets.pictures import Fit
    from vae_likelihoods.trained.images import Named
    from vae_likelihoods.trained.model import TrainedModel

Model = Annotated[
    str,
    typer.Argument(
        help="A run folder, the folder of an answer or an evaluated study (its best), or models:/STUDY@best."
    ),
]
Images = Annotated[Path, typer.Argument(help="A folder of images, an image, or a .npy of levels [N,C,H,W].")]
Out = Annotated[Path, typer.Option(help="The file that is written.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Trust = Annotated[bool, typer.Option("--trust", help="Import what the folder names of other packages.")]
FitOption = Annotated[
    str | None,
    typer.Option(
        help="How image files get the model's size: crop, pad or stretch; without it as in training."
    ),
]

_COLUMNS = 8  # of a picture


def sample(
    model: Model,
    out: Out = Path("samples.png"),
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Draw images from a model.

    A .png shows them, a .npy has their levels [N,C,H,W].

    \b
    Example:
      vae-likelihoods sample runs/grey/beta_binomial-8-0 --count 64 --out samples.png
    """
    opened = _open(model, device, trust)
    levels = opened.sample(count, seed)
    _write(out, levels, levels / (opened.levels - 1))


def reconstruct(
    model: Model,
    images: Images,
    out: Out = Path("reconstructions.png"),
    fit: FitOption = None,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Encode images and decode them again.

    A .png shows pairs, a .npy has points in [0, 1], [N,C,H,W].

    \b
    Example:
      vae-likelihoods reconstruct grey ~/scans --out reconstructions.png
    """
    import numpy as np

    opened = _open(model, device, trust)
    levels = _read("reconstruct", opened, images, fit).levels
    points = opened.reconstruct(levels)
    pairs = np.stack([levels / (opened.levels - 1), points], 1)
    _write(out, points, pairs.reshape(-1, *points.shape[1:]))


def encode(
    model: Model,
    images: Images,
    out: Out = Path("latents.csv"),
    fit: FitOption = None,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Write the latents of images.

    A .csv has the means with the names of the files, a .npz mean and stddev [N,L].

    \b
    Example:
      vae-likelihoods encode models:/grey@best ~/scans --out latents.csv
    """
    import numpy as np

    from vae_likelihoods.files import write_csv, write_whole

    opened = _open(model, device, trust)
    named = _read("encode", opened, images, fit)
    latents = opened.encode(named.levels)
    _require_ending(out, ".csv", ".npz")
    if out.suffix == ".csv":
        columns = ["image", *(f"z{latent}" for latent in range(opened.latent_dim))]
        rows = zip(named.names, latents.mean, strict=True)
        write_csv(out, columns, [[name, *(f"{value:.9g}" for value in mean)] for name, mean in rows])
    else:

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, mean=latents.mean, stddev=latents.stddev)

        write_whole(out, write)
    print(out)


def score(
    model: Model,
    images: Images,
    out: Out = Path("scores.csv"),
    samples: Annotated[int, typer.Option(min=1, help="Importance samples for each image, k.")] = 128,
    fit: FitOption = None,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Write how many bits images take.

    A .csv has log p(x) in nats, a lower bound on it, and bits/dim.

    \b
    Example:
      vae-likelihoods score grey ~/scans --out scores.csv
    """
    import math

    from vae_likelihoods.files import write_csv

    opened = _open(model, device, trust)
    named = _read("score", opened, images, fit)
    _require_ending(out, ".csv")
    log_prob = opened.log_prob(named.levels, samples)
    bits = -log_prob / (math.prod(opened.shape) * math.log(2))
    rows = zip(named.names, log_prob, bits, strict=True)
    columns = ["image", "log_prob_nats", "bits_per_dim"]
    write_csv(out, columns, [[name, f"{nats:.9g}", f"{bit:.9g}"] for name, nats, bit in rows])
    print(f"{out}: {bits.mean():.4f} bits/dim, mean over {len(bits):,} images, k = {samples}")


def _open(model: str, device: str, trust: bool) -> TrainedModel:
    import vae_likelihoods

    return vae_likelihoods.load(model, device, trust)


def _read(command: str, model: TrainedModel, images: Path, fit: str | None) -> Named:
    """Read images as those that the model was trained on; say what is assumed where it does not know."""
    import sys
    from typing import cast, get_args

    from vae_likelihoods.datasets.pictures import Fit
    from vae_likelihoods.errors import require
    from vae_likelihoods.trained.images import read_images

    require(fit is None or fit in get_args(Fit), "--fit", fit, "is none", get_args(Fit))
    named = read_images(
        images.expanduser(),
        model.shape,
        model.levels,
        model.decoding,
        cast("Fit | None", fit),
        model.config.get("binarize", "threshold"),
    )
    if named.assumed:
        done = ", ".join(
            f"{change} ({count:,} of {len(named.names):,})" for change, count in named.assumed.items()
        )
        print(f"{command}: the model does not say how to read such images; assumed: {done}", file=sys.stderr)
    return named


def _write(out: Path, values: NDArray[Any], points: NDArray[Any]) -> None:
    """Write an array of values, or a picture of points in [0, 1]."""
    import numpy as np
    import torch

    from vae_likelihoods.files import write_whole
    from vae_likelihoods.recipes.figures import image_grid

    _require_ending(out, ".png", ".npy")
    if out.suffix == ".npy":

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, values, allow_pickle=False)

        write_whole(out, write)
    else:
        grid = image_grid(torch.as_tensor(points), min(_COLUMNS, len(points)))
        write_whole(out, lambda path: grid.save(path, format="png"))
    print(out)


def _require_ending(out: Path, *endings: str) -> None:
    from vae_likelihoods.errors import require

    require(out.suffix in endings, "--out", out, f"must end with {' or '.join(endings)}")
