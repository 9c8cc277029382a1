"""Train one cell into its folder of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vae_likelihoods.cells.build import build_model, build_objective, build_optimizer
from vae_likelihoods.cells.run_files import (
    CHECKPOINT,
    COLUMNS,
    GRIDS,
    HISTORY,
    RECONSTRUCTIONS,
    SAMPLES,
    TIMINGS,
    TRAINING_RESULTS,
    WEIGHTS,
)
from vae_likelihoods.datasets.quantise import levels_of
from vae_likelihoods.files import write_json, write_whole
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.recipes.figures import reconstructions, samples
from vae_likelihoods.recipes.history import add_timing, history_columns, write_history
from vae_likelihoods.seeding import seeded
from vae_likelihoods.training.checkpoints import Checkpoint, save_weights
from vae_likelihoods.training.trainer import EpochRecord, NonFiniteLossError, Trainer
from vae_likelihoods.units.declaration import to_plain

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell
    from vae_likelihoods.cells.settings import Settings


def train(
    cell: Cell,
    folder: Path,
    on_epoch: Callable[[EpochRecord], None],
    kind: Callable[..., Trainer] = Trainer,
) -> list[str]:
    """Train a cell to its end; return the names of the result files in `folder`. See `advance`."""
    names = advance(cell, folder, on_epoch, kind)
    assert names is not None
    return names


def advance(
    cell: Cell,
    folder: Path,
    on_epoch: Callable[[EpochRecord], None],
    kind: Callable[..., Trainer] = Trainer,
    until: int | None = None,
) -> list[str] | None:
    """Train a cell, or continue from its checkpoint; return the names of the result files in `folder`.

    The folder also gets timings.csv, with a row each time an epoch is trained. It is not a result: timings
    differ from run to run.

    Args:
        cell: the checked configuration.
        folder: where to write; holds a checkpoint if an earlier process was stopped.
        on_epoch: called with each epoch's record.
        kind: the class of the trainer.
        until: the epoch after which to stop, though more are to come; None: train to the end.

    Returns:
        None if it stopped before the end. The checkpoint is of the last epoch then, and goes on to the
        same numbers as if it had not stopped.

    Raises:
        NonFiniteLossError: names epoch and step, the part of the loss, and the settings to change.
    """
    trainer = make_trainer(cell, kind)
    checkpoint = Checkpoint(folder / CHECKPOINT, cell.settings.runtime.checkpoint_seconds)
    if not checkpoint.restore(trainer):
        write_grids(folder / GRIDS, trainer, cell.settings.seed)
    write_json(folder / COLUMNS, to_plain(history_columns(trainer)))
    if _stops(trainer, until):
        return None
    for record in _with_advice(trainer, cell.settings):
        write_history(folder / HISTORY, trainer.records)
        add_timing(folder / TIMINGS, trainer)
        if record.epoch % cell.settings.training.grid_epochs == 0 or trainer.finished:
            write_grids(folder / GRIDS, trainer, cell.settings.seed)
        stops = _stops(trainer, until)
        checkpoint.save(trainer, now=stops)
        on_epoch(record)
        if stops:
            return None
    trainer.model.load_state_dict(trainer.kept_weights)
    save_weights(folder / WEIGHTS, trainer.kept_weights)
    write_pictures(folder, trainer, cell.settings.seed)
    write_history(folder / HISTORY, trainer.records)
    checkpoint.path.unlink(missing_ok=True)
    # A file that a killed process left half written has a name that begins with a dot.
    grids = [f"{GRIDS}/{path.name}" for path in (folder / GRIDS).glob("[!.]*.png")]
    return [*TRAINING_RESULTS, *grids]


def _stops(trainer: Trainer, until: int | None) -> bool:
    return until is not None and trainer.epoch >= until and not trainer.finished


def _with_advice(trainer: Trainer, settings: Settings) -> Iterator[EpochRecord]:
    """Train; yield the epochs; add to the error of a loss that is not finite which settings to change."""
    norm, rate = settings.training.clip_norm, settings.optimizer.get("lr")
    lower = "lower optimizer.lr" + (f" (now {rate:g})" if isinstance(rate, int | float) else "")
    clip = "set training.clip_norm" if norm is None else f"training.clip_norm (now {norm:g})"
    own = ", ".join(f"model.{key}" for key in settings.model if not key.startswith("_"))
    advice = f"{lower} or {clip}" if trainer.optimizer else f"the model fits itself: change {own}"
    try:
        yield from trainer.epochs()
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"{error}; {advice}") from error


def make_trainer(cell: Cell, kind: Callable[..., Trainer] = Trainer) -> Trainer:
    """Build a cell's model, objective, optimiser and data on its device, and its trainer."""
    settings = cell.settings
    device = settings.runtime.torch_device
    prepare_cpu(settings.runtime.threads)
    torch.set_float32_matmul_precision(settings.training.matmul)
    train, validation = (
        levels_of(cell.data, split, settings.levels, settings.binarize).to(device)
        for split in ("train", "validation")
    )
    train = train.some(settings.training.images)
    with seeded(settings.seed, "weights"):
        model = build_model(settings, cell.data.shape).to(device)
    with seeded(settings.seed, "begin"):
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
    sample_grid = samples(trainer.model, seed)
    write_whole(_marked(folder / SAMPLES, mark), sample_grid.save)
    reconstruction_grid = reconstructions(trainer.model, trainer.validation, seed)
    write_whole(_marked(folder / RECONSTRUCTIONS, mark), reconstruction_grid.save)


def write_grids(folder: Path, trainer: Trainer, seed: int) -> None:
    """Write both pictures of the epoch that just ended, with its number in their names."""
    write_pictures(folder, trainer, seed, mark=f"-{trainer.epoch:04d}")


def _marked(path: Path, mark: str) -> Path:
    return path.with_stem(path.stem + mark)
