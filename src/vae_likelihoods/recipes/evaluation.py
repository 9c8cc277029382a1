"""Measure one trained cell on the test split, which nothing before has read."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from vae_likelihoods.files import write_json, write_text, write_whole
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.data import Keep
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.recipes.figures import kl_bars, reconstructions, samples
from vae_likelihoods.recipes.measuring import Trained, measure
from vae_likelihoods.units import Unit, plain

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell

RESULTS = ("metrics.json", "per_image.csv", "samples.png", "reconstructions.png", "latents.png")


@torch.no_grad()
def evaluate(
    cell: Cell,
    folder: Path,
    take: Callable[[Trained, str], Measured] = measure,
    keep: Keep | None = None,
) -> list[str]:
    """Measure the cell in runs/ with every configured metric; return the result files in `folder`.

    metrics.json holds every number with its unit and, where there is one, the direction of a better model;
    per_image.csv a row for every test image, its columns in the units of the numbers of the same name.

    Args:
        cell: what to measure.
        folder: where the files go.
        take: gives what the metric of a name measures: computes it, or has it already.
        keep: see `Data`; None: nothing is kept.
    """
    trained = Trained(cell, keep)
    model, test = trained.model, trained.data.test
    measured = [take(trained, name) for name in sorted(cell.settings.metric)]
    numbers = {name: number for one in measured for name, number in one.numbers.items()}
    found = {
        **origin(cell, model),
        "images": len(test.images),
        "test_sha256": test.sha256,
        **{name: number.value for name, number in numbers.items()},
        "units": plain(units(cell, measured)),
        "better": {name: numbers[name].better for name in sorted(numbers) if numbers[name].better},
    }
    write_json(folder / "metrics.json", found)
    write_text(folder / "per_image.csv", per_image_csv(measured))
    write_whole(folder / "samples.png", samples(model, cell.settings.seed).save)
    write_whole(folder / "reconstructions.png", reconstructions(model, test.images).save)
    write_whole(folder / "latents.png", kl_bars(kl_per_latent(measured)).save)
    return list(RESULTS)


def kl_per_latent(measured: list[Measured]) -> list[float]:
    """Return the KL of every latent; nothing where no metric measured it."""
    found = [one.values.get("kl_per_latent_nats") for one in measured]
    return next((value for value in found if isinstance(value, list)), [])


def origin(cell: Cell, model: VAE) -> dict[str, Any]:
    """Return what was measured: the cell's axes and what the model costs, counted."""
    settings = cell.settings
    with (cell.run_folder / "history.csv").open() as handle:
        epochs = sum(1 for _ in csv.DictReader(handle))
    return {
        "study": cell.study,
        "cell": cell.name,
        "dataset": settings.names["dataset"],
        "levels": settings.levels,
        "likelihood": settings.names["likelihood"],
        "latent_dim": settings.latent_dim,
        "seed": settings.seed,
        "trained_on": model.likelihood.trained_on,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": multiply_adds(model, cell.data.shape),
        "epochs": epochs,
        "dimensions": math.prod(cell.data.shape),
    }


def multiply_adds(model: VAE, shape: tuple[int, int, int]) -> int:
    """Count multiply-adds of encoding and decoding one image (matrix products and convolutions)."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        posterior = model.posterior(torch.zeros((1, *shape), dtype=torch.uint8, device=device))
        model.decode(posterior.mean)
    return int(counter.get_total_flops()) // 2


def units(cell: Cell, measured: list[Measured]) -> dict[str, Unit]:
    """Return the unit of every measured number, by its name."""
    dimensions, levels = math.prod(cell.data.shape), cell.settings.levels
    numbers = {name: number for one in measured for name, number in one.numbers.items()}
    return {name: number.quantity.on("test", dimensions, levels) for name, number in numbers.items()}


def per_image_csv(measured: list[Measured]) -> str:
    """Return one row for every test image, in the order of the split."""
    columns = {name: array for one in measured for name, array in one.per_image.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *columns])
    rows = zip(*columns.values(), strict=True)
    writer.writerows([index, *(f"{value:.9g}" for value in row)] for index, row in enumerate(rows))
    return text.getvalue()
