"""Measure one trained cell on the test split, which nothing before has read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from vae_likelihoods.cells.run_files import (
    EVALUATION_RESULTS,
    HISTORY,
    LATENTS,
    METRICS,
    PER_IMAGE,
    RECONSTRUCTIONS,
    SAMPLES,
)
from vae_likelihoods.errors import require
from vae_likelihoods.files import read_csv, write_csv, write_json, write_whole
from vae_likelihoods.metrics.base import Floats, Measured
from vae_likelihoods.metrics.data import Keep
from vae_likelihoods.models.base import Model
from vae_likelihoods.recipes.figures import kl_bars, reconstructions, samples
from vae_likelihoods.recipes.measuring import Trained, measure
from vae_likelihoods.recipes.progress import progress
from vae_likelihoods.seeding import generator
from vae_likelihoods.units.declaration import Declaration, to_plain

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell

Facts = Mapping[Declaration, Any]

_FAMILY = "p(x|z), a probability for each level of a pixel; or the model, if it is another than a VAE"
_ONE_IMAGE = "share of the variance of nll_nats over images that the most extreme image has"


@torch.no_grad()
def evaluate(
    cell: Cell,
    folder: Path,
    take: Callable[[Trained, str], Measured] = measure,
    keep: Keep | None = None,
) -> list[str]:
    """Measure the cell in runs/ with every configured metric; return the result files in `folder`.

    metrics.json holds every number, and its declaration under `declarations`. A number that is missing is
    null, and `missing` says why; it is not there if nothing is missing. per_image.csv has a row for every
    test image; its columns are declared under the same names.

    Args:
        cell: what to measure.
        folder: where the files go.
        take: gives what the metric of a name measures: computes it, or has it already.
        keep: see `Data`; None: nothing is kept.
    """
    trained = Trained(cell, keep)
    model, test = trained.model, trained.data.test
    measured = [take(trained, name) for name in trained.metrics]
    missing = {name: reason for each in measured for name, reason in each.missing.items()}
    values = {name: value for each in measured for name, value in each.values.items()}
    known = {**values, **dict.fromkeys(missing)}
    numbers = {each: known[each.name] for each in declared(trained) if each.name in known}
    facts = {**identity(cell), **numbers, **influence(measured), **cost(cell, model)}
    contents = {
        **{declaration.name: value for declaration, value in facts.items()},
        "images": len(test.images),
        "test_sha256": test.sha256,
        "weights_sha256": cell.weights,
        "settings": cell.settings.flat,
        "tuned": cell.settings.tuned,
        **({"missing": missing} if missing else {}),
        "declarations": to_plain(unique(facts)),
    }
    write_json(folder / METRICS, contents)
    write_per_image(folder / PER_IMAGE, measured)
    write_whole(folder / SAMPLES, samples(model, cell.settings.seed).save)
    write_whole(folder / RECONSTRUCTIONS, reconstructions(model, test.images, cell.settings.seed).save)
    write_whole(folder / LATENTS, kl_bars(kl_per_latent(values)).save)
    return list(EVALUATION_RESULTS)


def kl_per_latent(values: Mapping[str, Any]) -> list[float]:
    """Return the KL of every latent; nothing if no metric measured it."""
    kl: list[float] = values.get("kl_per_latent_nats", [])
    return kl


def declared(trained: Trained) -> list[Declaration]:
    """Return the declarations of all metrics, with the units of numbers of the cell's test split."""
    levels, dimensions = trained.cell.settings.levels, math.prod(trained.cell.data.shape)
    numbers = (each for metric in trained.metrics.values() for each in metric.declarations(levels))
    return [number.on("test", dimensions, levels) for number in numbers]


def unique(declarations: Iterable[Declaration]) -> list[Declaration]:
    """Return `declarations`, no two of which may have the same name (SettingError)."""
    by_its_name: dict[str, Declaration] = {}
    for each in declarations:
        require(
            each.name not in by_its_name,
            "metric",
            each.name,
            "is declared twice; a name stands for one number",
        )
        by_its_name[each.name] = each
    return list(by_its_name.values())


def identity(cell: Cell) -> Facts:
    """Return what was measured: the cell, its data and its axes."""
    settings, fact = cell.settings, partial(Declaration, exact=True)
    names, count = settings.names, partial(fact, format="d")
    return {
        fact("study", "named grid of cells, and the name of the MLflow experiment"): cell.study,
        fact("cell", "one training run: the name of its folder and MLflow run", header="cell"): cell.name,
        fact("dataset", "the images; every score is on their test split"): names["dataset"],
        count("levels", "K, the number of values a pixel can take"): settings.levels,
        count("dimensions", "D, pixels × channels of an image"): math.prod(cell.data.shape),
        fact("model", "what gives the probability of an image"): names["model"],
        fact("likelihood", _FAMILY): settings.family,
        count("latent_dim", "size of z; 0: no latent variables", header="latents"): settings.latents,
        count("seed", "number that all randomness of the cell derives from", header="seed"): settings.seed,
    }


def influence(measured: Iterable[Measured]) -> Facts:
    """Return how much of the score's variance over images is due to one image; nothing if it has none."""
    share = Declaration("one_image_share", _ONE_IMAGE, format=".2g")
    for nll in (each.per_image["nll_nats"] for each in measured if "nll_nats" in each.per_image):
        squares = (nll - nll.mean()) ** 2
        if squares.sum() > 0:
            return {share: float(squares.max() / squares.sum())}
    return {}


def cost(cell: Cell, model: Model) -> Facts:
    """Return how the model was trained, and what it costs, counted."""
    fact = partial(Declaration, exact=True)
    count = partial(fact, format=",d")
    scale = "mass: the score itself; density: a density at one point of the pixel's bin"
    to_draw = "multiply-adds to draw one image"
    score = "exact: log p(x) itself; lower bound: what it is at least"
    to_score = "multiply-adds to score one image (a VAE: once through encoder and decoder)"
    scored, drawn = multiply_adds(model, cell.data.shape)
    return {
        fact("trained_on", scale, header="trained on"): model.trained_on,
        fact("score_is", score, header="score"): "exact" if model.exact else "lower bound",
        count("parameters", "trained numbers of the model", header="parameters"): model.parameter_count,
        count("multiply_adds", to_score, header="multiply-adds"): scored,
        count("multiply_adds_to_draw", to_draw, header="multiply-adds to draw"): drawn,
        **progress(read_csv(cell.run_folder / HISTORY), cell.settings, trained_on(cell)),
    }


def trained_on(cell: Cell) -> int:
    """Return how many images of the train split the cell saw."""
    return cell.settings.training.images or cell.data.count("train")


def multiply_adds(model: Model, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Count multiply-adds of scoring and of drawing one image (matrix products and convolutions)."""
    image = torch.zeros((1, *shape), dtype=torch.uint8, device=model.device)
    noise = generator(0, "cost", device=model.device)
    counts = []
    for work in (lambda: model.parts(image, noise, nullcontext), lambda: model.draw(1, noise)):
        work()  # the first time a model may look at its networks
        with FlopCounterMode(display=False) as counter:
            work()
        counts.append(int(counter.get_total_flops()) // 2)
    scored, drawn = counts
    return scored, drawn


def write_per_image(path: Path, measured: Iterable[Measured]) -> None:
    """Write one row for every test image, in the order of the split."""
    columns: dict[str, Floats] = {name: array for each in measured for name, array in each.per_image.items()}
    rows = zip(*columns.values(), strict=True)
    lines = ([index, *(f"{value:.9g}" for value in row)] for index, row in enumerate(rows))
    write_csv(path, ["image", *columns], lines)
