"""The commands that use a trained model: sample, reconstruct, encode, score."""

from __future__ import annotations

import sys
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
LeaveOut = Annotated[
    bool, typer.Option("--leave-out-damaged", help="Pass over files that cannot be read, and say which.")
]

_COLUMNS = 8  # of a picture
_NAMED = 3  # damaged files
_PAIRS = 64  # in a picture, unless the user says how many


def sample(
    model: Model,
    out: Out = Path("samples.png"),
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    mean: Annotated[
        bool,
        typer.Option("--mean", help="Decoder means E[x|z], as in a report's samples.png; no draws of x."),
    ] = False,
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Draw images from a model.

    z is drawn from the prior, then each pixel from p(x|z). So these have noise, of a mixture single bright
    pixels; the samples.png of a report shows decoder means, which have none: --mean.

    A .png shows them, a .npy has their levels [N,C,H,W]; of means it has points in [0, 1].

    \b
    Example:
      vae-likelihoods sample runs/grey/beta_binomial-8-0 --count 64 --out samples.png
    """
    _require_ending(out, ".png", ".npy")
    opened = _open(model, device, trust)
    images = opened.sample(count, seed, mean)
    _write(out, images, images if mean else images / (opened.levels - 1))


def reconstruct(
    model: Model,
    images: Images,
    out: Out = Path("reconstructions.png"),
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Number of images, evenly spread over all; without it {_PAIRS} for a .png, all for a .npy.",
        ),
    ] = None,
    fit: FitOption = None,
    leave_out: LeaveOut = False,
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

    _require_ending(out, ".png", ".npy")
    opened = _open(model, device, trust)
    most = _PAIRS if count is None and out.suffix == ".png" else count
    named = _read("reconstruct", opened, images, fit, leave_out, most)
    if count is None and most is not None and named.there > most:
        said = f"{most} of {named.there:,} images, evenly spread; --count says how many"
        print(f"reconstruct: {said}", file=sys.stderr)
    levels = named.levels
    points = opened.reconstruct(levels)
    pairs = np.stack([levels / (opened.levels - 1), points], 1)
    _write(out, points, pairs.reshape(-1, *points.shape[1:]))


def encode(
    model: Model,
    images: Images,
    out: Out = Path("latents.csv"),
    fit: FitOption = None,
    leave_out: LeaveOut = False,
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
    named = _read("encode", opened, images, fit, leave_out)
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
    leave_out: LeaveOut = False,
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
    named = _read("score", opened, images, fit, leave_out)
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


def _read(
    command: str,
    model: TrainedModel,
    images: Path,
    fit: str | None,
    leave_out: bool,
    count: int | None = None,
) -> Named:
    """Read images as those that the model was trained on; say what is assumed or left out."""
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
        count,
        leave_out,
    )
    if named.assumed:
        done = ", ".join(
            f"{change} ({times:,} of {len(named.names):,})" for change, times in named.assumed.items()
        )
        print(f"{command}: the model does not say how to read such images; assumed: {done}", file=sys.stderr)
    if named.damaged:
        tried = len(named.names) + len(named.damaged)
        which = [f"{name} {reason}" for name, reason in named.damaged.items()][:_NAMED]
        more = "; ..." if len(named.damaged) > _NAMED else ""
        left_out = f"left out {len(named.damaged):,} of {tried:,} files"
        print(f"{command}: {left_out}: {'; '.join(which)}{more}", file=sys.stderr)
    return named


def _write(out: Path, values: NDArray[Any], points: NDArray[Any]) -> None:
    """Write an array of values, or a picture of points in [0, 1]."""
    import numpy as np
    import torch

    from vae_likelihoods.files import write_whole
    from vae_likelihoods.recipes.figures import image_grid

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
