"""What an evaluation takes from the store, or leaves there: the numbers of a metric, and what is costly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from vae_likelihoods.cells.identity import kept
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.data import Keep
from vae_likelihoods.recipes.measuring import Trained, measure, read_measured, write_measured
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.training.checkpoints import read_weights, save_weights

KEPT = "kept.safetensors"


def stored_measurement(trained: Trained, metric: str) -> Measured:
    """Return what one metric measures, from the store if it was measured before, in whatever study."""
    cell = trained.cell
    identity = cell.measurement_of(metric, cell.weights)
    return cell.entry(identity.key).once(
        identity.record,
        lambda folder: write_measured(measure(trained, metric), folder),
        lambda entry: read_measured(entry.folder),
    )


def keep_in(store: Path, prepared: PreparedDataset) -> Keep:
    """Return what gives a metric the tensors that it makes of a data set: computed once, then read.

    Args:
        store: the folder of all that was computed, by key.
        prepared: the data set.
    """

    def keep(name: str, compute: Callable[[PreparedDataset], dict[str, Tensor]]) -> dict[str, Tensor]:
        identity = kept(name, prepared.sha256, compute)

        def write(folder: Path) -> list[str]:
            save_weights(folder / KEPT, compute(prepared))
            return [KEPT]

        entry = Entry(store / identity.key)
        return entry.once(identity.record, write, lambda entry: read_weights(entry.folder / KEPT))

    return keep
