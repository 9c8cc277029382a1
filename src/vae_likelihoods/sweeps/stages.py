"""The two stages that work cell by cell: what each computes, where it is stored and laid out."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell, key_of
from vae_likelihoods.cells.environment import copy_record, record
from vae_likelihoods.files import write_json
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.recipes.distributed import train_together
from vae_likelihoods.recipes.evaluation import evaluate
from vae_likelihoods.recipes.measuring import Trained, measure, read_measured, write_measured
from vae_likelihoods.recipes.training import train
from vae_likelihoods.store import code as sources
from vae_likelihoods.store.entry import DamagedError, Entry
from vae_likelihoods.sweeps.gpus import own_gpus
from vae_likelihoods.training.trainer import EpochRecord

Tell = Callable[[EpochRecord], None]


def named(error: BaseException) -> str:
    """Return an error's class and message."""
    return f"{type(error).__name__}: {error}"


def _code(modules: Sequence[str]) -> dict[str, str]:
    return {module: sources.digest([module]) for module in modules}


class Stage(ABC):
    """Something that is done once for every cell of a grid."""

    name: str

    @abstractmethod
    def entry(self, cell: Cell) -> Entry:
        """Return the store's entry of the stage's result for `cell`."""

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

    def perform(self, cell: Cell, tell: Tell) -> None:
        """Make sure that the cell's result is in the store, and lay it out.

        A result that another process computes right now is waited for. An error is recorded in the store
        with its traceback and the cell's settings, and raised.
        """
        entry = self.entry(cell)
        with entry.locked():
            if not self.take(cell):
                entry.begin()
                try:
                    recorded = {**self.identity(cell), **self.records(cell)}
                    write_json(entry.folder / "identity.json", recorded)
                    record(entry.folder, cell.settings.runtime)
                    runtime = cell.settings.runtime
                    with own_gpus(runtime.torch_device, self.processes(cell), runtime.cells_per_gpu) as gpus:
                        entry.finish(self.work(cell, entry.folder, tell, gpus))
                except Exception as error:
                    settings = OmegaConf.to_yaml(cell.description())
                    with suppress(OSError):  # a full disk has no room for its own report
                        entry.fail(f"{named(error)}\n\n{traceback.format_exc()}\n{settings}")
                    raise
                self.lay_out(cell, entry)

    def take(self, cell: Cell) -> bool:
        """Lay out the cell's result if the store has it, whole; return whether it has."""
        entry = self.entry(cell)
        try:
            if entry.done():
                self.lay_out(cell, entry)
                return True
        except DamagedError:  # it was changed, or removed, since it was checked
            pass
        return False

    def lay_out(self, cell: Cell, entry: Entry) -> None:
        """Copy the finished result to where the study wants it."""
        entry.lay_out(self.target(cell), self.texts(cell))
        records = cell.root / "logs" / "environments"
        copy_record(entry.folder, records / self.name / cell.study / f"{cell.name}.json")

    @abstractmethod
    def identity(self, cell: Cell) -> dict[str, object]:
        """Return what the entry's key is made of."""

    def records(self, cell: Cell) -> dict[str, object]:
        """Return what identity.json holds beside the identity: no part of the key, see `cells.RECORDS`."""
        return {"modules": self.code(cell)}

    def code(self, cell: Cell) -> dict[str, str]:
        """Return the hash of the code of each of these modules, of which the key has only one for all."""
        return _code(self.modules(cell))

    @abstractmethod
    def modules(self, cell: Cell) -> list[str]:
        """Return the modules whose code is part of the key."""


class TrainingStage(Stage):
    """.cells/<key>/ -> runs/<study>/<cell>/."""

    name = "train"

    @override
    def entry(self, cell: Cell) -> Entry:
        return cell.trained

    @override
    def target(self, cell: Cell) -> Path:
        return cell.run_folder

    @override
    def work(self, cell: Cell, folder: Path, tell: Tell, gpus: Sequence[int]) -> list[str]:
        if self.processes(cell) == 1:
            return train(cell, folder, tell)
        return train_together(cell, folder, tell, gpus)

    @override
    def processes(self, cell: Cell) -> int:
        return cell.settings.runtime.processes

    @override
    def texts(self, cell: Cell) -> dict[str, str]:
        return {"config.yaml": OmegaConf.to_yaml(OmegaConf.create(cell.description()))}

    @override
    def identity(self, cell: Cell) -> dict[str, object]:
        return cell.training_identity

    @override
    def modules(self, cell: Cell) -> list[str]:
        return cell.training_modules


class EvaluationStage(Stage):
    """.cells/<key>/ -> evaluations/<study>/<cell>/."""

    name = "evaluate"

    @override
    def entry(self, cell: Cell) -> Entry:
        return cell.evaluated

    @override
    def target(self, cell: Cell) -> Path:
        return cell.evaluation_folder

    @override
    def work(self, cell: Cell, folder: Path, tell: Tell, gpus: Sequence[int]) -> list[str]:
        return evaluate(cell, folder, self._measured)

    def _measured(self, trained: Trained, metric: str) -> Measured:
        """Take what one metric measured from the store, or measure it: another metric asks for no more."""
        cell = trained.cell
        identity = cell.measurement(metric)
        entry = cell.store(key_of(identity))
        with entry.locked():
            if not entry.done():
                entry.begin()
                modules = _code(cell.measuring_modules(metric))
                write_json(entry.folder / "identity.json", {**identity, "modules": modules})
                entry.finish(write_measured(measure(trained, metric), entry.folder))
            return read_measured(entry.folder)

    @override
    def identity(self, cell: Cell) -> dict[str, object]:
        return cell.evaluation_identity

    @override
    def records(self, cell: Cell) -> dict[str, object]:
        keys = {metric: key_of(cell.measurement(metric)) for metric in sorted(cell.settings.metric)}
        return {**super().records(cell), "measurements": keys}

    @override
    def modules(self, cell: Cell) -> list[str]:
        return cell.evaluation_modules


STAGES: dict[str, Stage] = {stage.name: stage for stage in (TrainingStage(), EvaluationStage())}
