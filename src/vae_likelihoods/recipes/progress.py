"""How a training ended, in numbers that a diagnosis can judge: read from its history and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vae_likelihoods.cells.settings import Settings
from vae_likelihoods.units.declaration import ITSELF, Declaration

_EPOCHS = Declaration("epochs", "passes over the train split", None, "epochs", "d", whole=ITSELF)
_BEST = Declaration("best_epoch", "the epoch with the best validation ELBO", None, "", "d", whole="epochs")
_GAIN = Declaration(
    "late_gain_bits",
    "bits/dim that the best validation score gained in the last third of the epochs",
    format=".4f",
    whole="bits_per_dim",
)
_RISE = Declaration(
    "validation_rise_bits",
    "bits/dim by which the validation score of the last epoch is worse than that of the best one",
    format=".4f",
    whole="bits_per_dim",
)
_WARMUP = Declaration(
    "warmup_share",
    "share of the steps in which the learning rate, or the weight of the rate, was still rising",
    format=".3g",
    exact=True,
)


def progress(
    history: Sequence[Mapping[str, str]], settings: Settings, images: int
) -> dict[Declaration, float | int]:
    """Return how a training ended; what cannot be said of so few epochs is left out.

    Args:
        history: the rows of history.csv.
        settings: of the cell.
        images: of the train split that it saw.
    """
    scores = [float(row["val_bits_per_dim"]) for row in history]
    best = min(scores)
    numbers = {_EPOCHS: len(history), _BEST: scores.index(best) + 1, _RISE: scores[-1] - best}
    before = scores[: math.ceil(len(scores) * 2 / 3)]
    if len(before) < len(scores):
        numbers[_GAIN] = min(before) - best
    stepped = any(float(row["learning_rate"]) > 0 for row in history)  # else the model fitted itself
    return numbers | ({_WARMUP: _warmup(settings, images)} if stepped else {})


def _warmup(settings: Settings, images: int) -> float:
    training = settings.training
    steps = training.epochs * math.ceil(images / training.batch_size)
    rate = float(settings.objective.get("warmup_epochs", 0))
    return min(1.0, max(training.warmup_steps / steps, rate / training.epochs))
