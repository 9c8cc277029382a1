"""Apply one metric to one trained cell, and write and read what it measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from vae_likelihoods.cells.build import build_metrics, build_model
from vae_likelihoods.cells.run_files import WEIGHTS
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError, require, under
from vae_likelihoods.files import write_json, write_whole
from vae_likelihoods.metrics.base import Measured, Metric, Missing
from vae_likelihoods.metrics.data import Data, Keep
from vae_likelihoods.models.base import Model
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.seeding import generator
from vae_likelihoods.training.checkpoints import load_weights
from vae_likelihoods.units.declaration import Declaration

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell

MEASURED = "measured.json"
OTHER = Missing("the model has no posterior q(z|x)")


class Trained:
    """A trained cell of runs/: its model, data and metrics, each built when it is first needed.

    Args:
        cell: the cell.
        keep: see `Data`; None: nothing is kept.
    """

    def __init__(self, cell: Cell, keep: Keep | None = None) -> None:
        self.cell = cell
        self.keep = keep or self._compute

    @cached_property
    def model(self) -> Model:
        """The model with the weights in runs/, on the cell's device.

        Raises:
            SettingError: if the weights are damaged.
        """
        cell, runtime = self.cell, self.cell.settings.runtime
        prepare_cpu(runtime.threads)
        torch.set_float32_matmul_precision("highest")  # scores are computed with all bits
        model = build_model(cell.settings, cell.data.shape)
        path = cell.run_folder / WEIGHTS
        try:
            load_weights(path, model)
        except (SafetensorError, RuntimeError) as error:
            reason = f"{path} is damaged ({str(error).splitlines()[0]}); run the same training again"
            raise SettingError("cell", cell.name, reason) from None
        return model.to(runtime.torch_device).eval()

    @cached_property
    def data(self) -> Data:
        """The cell's data set at its levels, on its device."""
        settings, runtime = self.cell.settings, self.cell.settings.runtime
        read = settings.levels, settings.binarize, runtime.torch_device, self.keep
        return Data(self.cell.data, *read, trained_on=settings.training.images)

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of the configuration, by name."""
        return build_metrics(self.cell.settings)

    def _compute(
        self, name: str, compute: Callable[[PreparedDataset], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        return compute(self.cell.data)


@torch.no_grad()
def measure(trained: Trained, name: str) -> Measured:
    """Apply the metric `name`, with random numbers of its own.

    Raises:
        SettingError: if a number is not declared, or does not fit its format.
    """
    settings, metric = trained.cell.settings, trained.metrics[name]
    noise = generator(settings.seed, "metric", name, device=trained.data.device)
    model, data = trained.model, trained.data
    measured = Measured.of(
        metric(model, data, noise) if isinstance(model, metric.of) else metric.without(data, OTHER)
    )
    with under(f"metric.{name}"):
        check(measured, metric.declarations(settings.levels))
    return measured


def check(measured: Measured, declarations: Iterable[Declaration]) -> None:
    """Refuse numbers that are not declared, or that do not fit their format (SettingError)."""
    declared = {declaration.name: declaration for declaration in declarations}
    for number, value in {**measured.values, **measured.missing}.items():
        require(number in declared, number, value, "is measured but not declared", declared)
    for number, value in measured.values.items():
        form = declared[number].format
        fits = not form.endswith("d") or isinstance(value, list) or float(value).is_integer()
        require(fits, number, value, f"is not a whole number, as its format '{form}' says")


def write_measured(measured: Measured, folder: Path) -> list[str]:
    """Write what a metric measured into `folder`, to the last bit; return the names of the files."""
    write_json(folder / MEASURED, {"values": measured.values, "missing": measured.missing})
    for name, array in measured.per_image.items():
        write_whole(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))
    return [MEASURED, *(f"{name}.npy" for name in measured.per_image)]


def read_measured(folder: Path) -> Measured:
    """Read what `write_measured` wrote."""
    stored = json.loads((folder / MEASURED).read_text(encoding="utf-8"))
    files = {name: folder / f"{name}.npy" for name in stored["values"]}
    arrays = {name: np.load(path, allow_pickle=False) for name, path in files.items() if path.is_file()}
    return Measured(stored["values"], arrays, stored["missing"])
