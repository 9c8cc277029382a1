"""Train one cell into its folder of the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vae_likelihoods.cells.build import build_model, build_objective, build_optimizer
from vae_likelihoods.datasets.quantise import levels_of
from vae_likelihoods.files import write_json, write_whole
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.recipes.figures import reconstructions, samples
from vae_likelihoods.recipes.history import add_timing, history_columns, write_history
from vae_likelihoods.seeding import seeded
from vae_likelihoods.training.checkpoints import Checkpoint, save_weights
from vae_likelihoods.training.trainer import EpochRecord, Trainer
from vae_likelihoods.units.declaration import to_plain

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell

RESULTS = ("history.csv", "columns.json", "model.safetensors", "samples.png", "reconstructions.png")


def train(
    cell: Cell,
    folder: Path,
    tell: Callable[[EpochRecord], None],
    make: Callable[[Cell], Trainer] | None = None,
) -> list[str]:
    """Train a cell, or go on from its checkpoint; return the names of the result files in `folder`.

    Beside the results `folder` gets timings.csv, a row for each epoch that was trained, another if it was
    trained again. It is no result: it differs each time.

    Args:
        cell: the checked configuration.
        folder: where to write; holds a checkpoint if an earlier process was stopped.
        tell: called with each epoch's record.
        make: makes the trainer; `make_trainer` unless told otherwise.

    Raises:
        NonFiniteLossError: naming epoch and step.
    """
    trainer = (make or make_trainer)(cell)
    checkpoint = Checkpoint(folder / "checkpoint.pt", cell.settings.runtime.checkpoint_seconds)
    if not checkpoint.restore(trainer):
        write_grids(folder / "grids", trainer, cell.settings.seed)
    write_json(folder / "columns.json", to_plain(history_columns(trainer)))
    for record in trainer.epochs():
        write_history(folder / "history.csv", trainer.records)
        add_timing(folder / "timings.csv", trainer)
        if record.epoch % cell.settings.training.grid_epochs == 0 or trainer.finished:
            write_grids(folder / "grids", trainer, cell.settings.seed)
        checkpoint.save(trainer)
        tell(record)
    trainer.model.load_state_dict(trainer.best_weights)
    save_weights(folder / "model.safetensors", trainer.best_weights)
    write_pictures(folder, trainer, cell.settings.seed)
    write_history(folder / "history.csv", trainer.records)
    checkpoint.path.unlink(missing_ok=True)
    # What a killed process left half written begins with a dot.
    grids = [f"grids/{path.name}" for path in (folder / "grids").glob("[!.]*.png")]
    return [*RESULTS, *grids]


def make_trainer(cell: Cell, kind: Callable[..., Trainer] = Trainer) -> Trainer:
    """Build model, objective, optimiser and data of a cell on its device, and a trainer of this kind."""
    settings = cell.settings
    device = settings.runtime.torch_device
    prepare_cpu(settings.runtime.threads)
    torch.set_float32_matmul_precision(settings.training.matmul)
    train, validation = (
        levels_of(cell.data, split, settings.levels, settings.binarize).to(device)
        for split in ("train", "validation")
    )
    with seeded(settings.seed, "weights"):
        model: VAE = build_model(settings, cell.data.shape).to(device)
    model.begin(train)
    return kind(
        model,
        build_objective(settings),
        build_optimizer(settings, model),
        settings.training,
        lambda epoch: train.of_epoch(settings.seed, epoch),
        validation.images,
        settings.seed,
    )


def write_pictures(folder: Path, trainer: Trainer, seed: int, mark: str = "") -> None:
    """Write the sample grid and the reconstructions of validation images."""
    drawn = samples(trainer.model, seed)
    write_whole(folder / f"samples{mark}.png", drawn.save)
    rebuilt = reconstructions(trainer.model, trainer.validation)
    write_whole(folder / f"reconstructions{mark}.png", rebuilt.save)


def write_grids(folder: Path, trainer: Trainer, seed: int) -> None:
    """Write both pictures for the epoch that just ended."""
    write_pictures(folder, trainer, seed, mark=f"-{trainer.epoch:04d}")
