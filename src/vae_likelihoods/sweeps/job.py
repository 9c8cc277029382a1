"""One job of a sweep, or a single run: a stage performed for one cell."""

from __future__ import annotations

import ctypes
import gc
import platform

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from tqdm import tqdm

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.checks import check_folders, check_replaced
from vae_likelihoods.sweeps.mirroring import mirror_for
from vae_likelihoods.sweeps.scores import next_command, score_of
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.sweeps.sweep import JobError, Sweep, named, near
from vae_likelihoods.sweeps.watch import Watch
from vae_likelihoods.training.trainer import EpochRecord


def return_memory() -> None:
    """Return freed memory to the operating system, which `prepare_cpu` prevents while a cell is computed.

    Joblib assumes that a worker which has grown by 300 MB leaks memory: it warns, and ends the worker.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def run_job(stage_name: str, config: DictConfig) -> float | None:
    """Perform a stage for the cell that `config` describes: all that a script of pipelines/ does.

    Returns:
        The cell's bits/dim, on the validation images after `train`, on the test images after `evaluate`;
        None if it has none.

    In a sweep the driver has named the cell and watches it. In a single run this process does both, and
    shows a progress bar over epochs.

    Raises:
        JobError: in a sweep, for any error; in a single run, for one that is recorded in the store.
        SettingError: if the sweep's launcher names no cells.
    """
    stage = STAGES[stage_name]
    if _in_sweep():
        try:
            cell = Cell.of(config)
            stage.perform(cell, lambda record: None)
        except Exception as error:
            raise JobError(named(error)) from error
        return_memory()
        return score_of(stage, cell)
    cell = Cell.of(config)
    check_folders(stage, cell)
    check_replaced(stage, [cell])
    sweep = Sweep(stage, [cell.named(cell.name)])
    sweep.take_stored()
    epochs = cell.settings.training.epochs
    hidden = None if stage.name == "train" else True
    with (
        Watch(sweep, mirror_for(sweep, []), bar=False),
        tqdm(total=epochs, desc=cell.name, unit="epoch", disable=hidden) as bar,
    ):

        def show(record: EpochRecord) -> None:
            bar.set_postfix_str(f"val {record.val_bits_per_dim:.4f} bits/dim", refresh=False)
            bar.update(record.epoch - bar.n)

        try:
            stage.perform(cell, show)
        except CompactHydraException:
            raise
        except Exception as error:
            if stage.entry(cell).failure:
                raise JobError(f"{stage.name} {cell.name}: {sweep.reason(cell)}") from error
            raise
    done = " (taken from the store)" if cell.name in sweep.stored else ""
    print(f"{stage.name}: {near(stage.target(cell), cell)}{done}")
    print(next_command(stage, cell, HydraConfig.get().overrides.task if HydraConfig.initialized() else []))
    return score_of(stage, cell)


def _in_sweep() -> bool:
    """Return whether this process is a worker of a sweep; a user may name the cell of a single run too.

    Raises:
        SettingError: if the launcher names no cells, which would share one folder.
    """
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is None or hydra.mode != RunMode.MULTIRUN:
        return False
    own = sorted(path.stem for path in (PROJECT / "conf/hydra/launcher").glob("*.yaml"))
    launcher = hydra.runtime.choices["hydra/launcher"]
    require(launcher in own, "hydra/launcher", launcher, "gives the cells of a sweep no names", own)
    return True
