"""The two stages that work cell by cell: what each computes, where it is stored and laid out."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import OmegaConf
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.environment import copy_record, record
from vae_likelihoods.cells.identity import Identity
from vae_likelihoods.cells.run_files import CONFIG, MODEL, WEIGHTS
from vae_likelihoods.errors import under
from vae_likelihoods.recipes.distributed import train_together
from vae_likelihoods.recipes.evaluation import evaluate
from vae_likelihoods.recipes.keeping import keep_in, stored_measurement
from vae_likelihoods.recipes.training import advance, train
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.sweeps.gpus import own_gpus
from vae_likelihoods.sweeps.memory import naming_what_to_lower
from vae_likelihoods.trained.folder import described
from vae_likelihoods.training.trainer import EpochRecord

Tell = Callable[[EpochRecord], None]


class Stage(ABC):
    """Something that is done once for every cell of a grid."""

    name: str

    @abstractmethod
    def identity(self, cell: Cell) -> Identity:
        """Return all that decides the stage's result for `cell`."""

    @abstractmethod
    def target(self, cell: Cell) -> Path:
        """Return the folder where the study wants the result."""

    @abstractmethod
    def work(self, cell: Cell, folder: Path, tell: Tell, gpus: Sequence[int]) -> list[str]:
        """Compute the result into `folder`, on these GPUs if any; return the names of its files."""

    def processes(self, cell: Cell) -> int:
        """Return how many processes work on one cell."""
        return 1

    def texts(self, cell: Cell) -> dict[str, str]:
        """Return small files that only the study's copy has."""
        return {}

    def entry(self, cell: Cell) -> Entry:
        """Return the store's entry of the stage's result for `cell`."""
        return cell.entry(self.identity(cell).key)

    def perform(self, cell: Cell, tell: Tell) -> None:
        """Make sure that the cell's result is in the store, and lay it out.

        A result that another process computes right now is waited for. An error is recorded in the store
        with its traceback and the cell's settings, and raised.
        """

        def compute(folder: Path) -> list[str]:
            runtime = cell.settings.runtime
            with under("runtime"):
                record(folder, runtime)
            device = runtime.torch_device
            with (
                own_gpus(device, self.processes(cell), runtime.cells_per_gpu) as gpus,
                naming_what_to_lower(self.name, device),
            ):
                return self.work(cell, folder, tell, gpus)

        self.entry(cell).once(
            self.identity(cell).record,
            compute,
            lambda entry: self.lay_out(cell, entry),
            context=OmegaConf.to_yaml(cell.description()),
        )

    def take(self, cell: Cell, wait_seconds: float = -1) -> bool:
        """Lay out the cell's result if the store has it, whole, else forget it; return whether it has.

        Raises:
            BusyError: if another process still works on it after `wait_seconds`.
        """
        return self.entry(cell).take(lambda entry: self.lay_out(cell, entry), wait_seconds)

    def lay_out(self, cell: Cell, entry: Entry) -> None:
        """Copy the finished result to where the study wants it."""
        entry.lay_out(self.target(cell), self.texts(cell))
        records = cell.root / "logs" / "environments"
        copy_record(entry.folder, records / self.name / cell.study / f"{cell.name}.json")


class TrainingStage(Stage):
    """.cells/<key>/ -> runs/<study>/<cell>/."""

    name = "train"

    @override
    def identity(self, cell: Cell) -> Identity:
        return cell.training_identity

    @override
    def target(self, cell: Cell) -> Path:
        return cell.run_folder

    @override
    def work(self, cell: Cell, folder: Path, tell: Tell, gpus: Sequence[int]) -> list[str]:
        if self.processes(cell) == 1:
            return train(cell, folder, tell)
        return train_together(cell, folder, tell, gpus)

    def advance(self, cell: Cell, until: int, tell: Tell) -> bool:
        """Train the cell up to the epoch `until`, in the store only; return whether it is trained to its end.

        A cell that is further is left as it is. It always has one process.
        """

        def work(folder: Path) -> list[str] | None:
            runtime = cell.settings.runtime
            with under("runtime"):
                record(folder, runtime)
            with (
                own_gpus(runtime.torch_device, 1, runtime.cells_per_gpu),
                naming_what_to_lower(self.name, runtime.torch_device),
            ):
                return advance(cell, folder, tell, until=until)

        context = OmegaConf.to_yaml(cell.description())
        return self.entry(cell).advance(self.identity(cell).record, work, context)

    @override
    def processes(self, cell: Cell) -> int:
        return cell.settings.runtime.processes

    @override
    def texts(self, cell: Cell) -> dict[str, str]:
        config = OmegaConf.to_yaml(OmegaConf.create(cell.description()))
        weights = self.entry(cell).folder / WEIGHTS
        model = described(cell.data.shape, config, weights, cell.data.folder)
        return {CONFIG: config, MODEL: json.dumps(model, indent=2) + "\n"}


class EvaluationStage(Stage):
    """.cells/<key>/ -> evaluations/<study>/<cell>/."""

    name = "evaluate"

    @override
    def identity(self, cell: Cell) -> Identity:
        return cell.evaluation_identity

    @override
    def target(self, cell: Cell) -> Path:
        return cell.evaluation_folder

    @override
    def work(self, cell: Cell, folder: Path, tell: Tell, gpus: Sequence[int]) -> list[str]:
        keep = keep_in(cell.settings.runtime.cell_store, cell.data)
        return evaluate(cell, folder, stored_measurement, keep)


STAGES: dict[str, Stage] = {stage.name: stage for stage in (TrainingStage(), EvaluationStage())}
