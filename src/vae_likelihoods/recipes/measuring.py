"""Apply one metric to one trained cell: the unit of what is computed once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from vae_likelihoods.cells.build import build_metrics, build_model
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import write_json, write_whole
from vae_likelihoods.metrics.base import Measured, Number
from vae_likelihoods.metrics.data import Data, Keep
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.seeding import generator
from vae_likelihoods.training.checkpoints import load_weights
from vae_likelihoods.units import Quantity

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell

MEASURED = "measured.json"


class Trained:
    """A cell that lies in runs/: its model and its data, each read when it is first asked for.

    Args:
        cell: which one.
        keep: see `Data`; None: nothing is kept.
    """

    def __init__(self, cell: Cell, keep: Keep | None = None) -> None:
        self.cell = cell
        self.keep = keep or self._compute

    @cached_property
    def model(self) -> VAE:
        """The model with the weights that lie in runs/, on the cell's device.

        Raises:
            SettingError: the weights are damaged.
        """
        cell, runtime = self.cell, self.cell.settings.runtime
        prepare_cpu(runtime.threads)
        torch.set_float32_matmul_precision("highest")  # a score is no place to save bits
        model = build_model(cell.settings, cell.data.shape)
        path = cell.run_folder / "model.safetensors"
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
        return Data(self.cell.data, settings.levels, settings.binarize, runtime.torch_device, self.keep)

    def _compute(
        self, name: str, compute: Callable[[PreparedDataset], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        return compute(self.cell.data)


@torch.no_grad()
def measure(trained: Trained, name: str) -> Measured:
    """Apply the metric of that name, with noise of its own.

    Raises:
        ValueError: a number that it gives is not finite.
    """
    model, data, settings = trained.model, trained.data, trained.cell.settings
    noise = generator(settings.seed, "metric", name, device=data.device)
    found = build_metrics(settings)[name](model, data, noise)
    for number, value in found.values.items():
        if not np.isfinite(value).all():
            raise ValueError(f"metric {name}: {number} is {value}, not finite")
    return found


def write_measured(found: Measured, folder: Path) -> list[str]:
    """Write what a metric found into `folder`, to the last bit; return the names of the files."""
    plain = {
        name: {"value": number.value, "quantity": vars(number.quantity), "better": number.better}
        for name, number in found.numbers.items()
    }
    write_json(folder / MEASURED, plain)
    for name, array in found.per_image.items():
        write_whole(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))
    return [MEASURED, *(f"{name}.npy" for name in found.per_image)]


def read_measured(folder: Path) -> Measured:
    """Read what `write_measured` wrote."""
    numbers: dict[str, dict[str, Any]] = json.loads((folder / MEASURED).read_text(encoding="utf-8"))
    return Measured({name: _number(folder / f"{name}.npy", said) for name, said in numbers.items()})


def _number(path: Path, said: dict[str, Any]) -> Number:
    per_image = np.load(path, allow_pickle=False) if path.is_file() else None
    return Number(said["value"], Quantity(**said["quantity"]), per_image, said["better"])
