"""The history of a training, a row for each epoch: its columns, their declarations, and the timings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vae_likelihoods.files import read_csv, write_csv
from vae_likelihoods.training.trainer import EpochRecord, Trainer
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import BITS, NATS, Quantity


def write_history(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write a row for each epoch, with the likelihood's shared parameters as further columns."""
    rows = [{**vars(record), **record.shared} for record in records]
    columns = [name for name in rows[0] if name != "shared"]
    write_csv(path, columns, ([row[name] for name in columns] for row in rows))


def history_columns(trainer: Trainer) -> list[Declaration]:
    """Return the declarations of the columns of history.csv, the score first."""
    return [*_validated(trainer), *_trained(trainer), *_counted()]


def _validated(trainer: Trainer) -> list[Declaration]:
    mass = partial(Quantity, scale="mass", importance_samples=1)
    numbers = [
        Declaration("val_bits_per_dim", "-val_elbo / (D ln 2)", mass(BITS), better="lower", short="bpd"),
        Declaration("val_elbo", "-(rate + distortion)", mass(NATS), better="higher", short="elbo"),
        Declaration("val_distortion", "-E log p(x|z) under q(z|x)", mass(NATS), short="distortion"),
        Declaration("val_rate", "KL(q(z|x) to p(z))", Quantity(NATS), short="rate"),
    ]
    dimensions, levels = trainer.validation[0].numel(), trainer.model.levels
    return [number.on("validation", dimensions, levels) for number in numbers]


def _trained(trainer: Trainer) -> list[Declaration]:
    model = trainer.model
    learned = Quantity(NATS, model.trained_on, trainer.objective.draws())
    shared = Quantity("parameter of the model")
    numbers = [
        Declaration("train_loss", "what is minimised", learned, better="lower", short="loss"),
        Declaration("train_elbo", "-(rate + distortion)", learned, better="higher", short="elbo"),
        Declaration("train_distortion", "-E log p(x|z) under q(z|x)", learned, short="distortion"),
        Declaration("train_rate", "KL(q(z|x) to p(z))", Quantity(NATS), short="rate"),
        *(Declaration(name, "a parameter that all pixels share", shared) for name in model.summary()),
    ]
    return [number.on("train", trainer.validation[0].numel(), model.levels) for number in numbers]


def _counted() -> list[Declaration]:
    return [
        Declaration("epoch", "number of the epoch, from 1 on", exact=True),
        Declaration("learning_rate", "of the last step of the epoch", exact=True),
        Declaration("rate_weight", "weight of the rate in the loss", exact=True),
        Declaration("best_epoch", "the epoch with the best validation ELBO so far"),
    ]


def add_timing(path: Path, trainer: Trainer) -> None:
    """Append the time and the speed of the last epoch."""
    speed = trainer.images_seen / trainer.seconds
    earlier = [list(row.values()) for row in read_csv(path)]
    timing = [trainer.epoch, f"{trainer.seconds:.4f}", f"{speed:.1f}"]
    write_csv(path, ["epoch", "seconds", "images_per_second"], [*earlier, timing])
