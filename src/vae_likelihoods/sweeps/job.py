"""One job of a sweep, or a run alone: a stage done for one cell, and how a signal ends it."""

from __future__ import annotations

import ctypes
import gc
import platform
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Never

from omegaconf import DictConfig
from tqdm import tqdm

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.sweeps.checks import check_folders
from vae_likelihoods.sweeps.mirroring import mirror_for
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.sweeps.sweep import JobError, Sweep, named, near
from vae_likelihoods.sweeps.watch import Watch
from vae_likelihoods.training.trainer import EpochRecord


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, which is taken as Ctrl-C is."""


def give_back_memory() -> None:
    """Hand freed memory back to the system, which `prepare_cpu` keeps from happening during a cell.

    Joblib takes a worker that has grown by 300 MB for one that leaks, warns, and ends it.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def run_job(stage_name: str, config: DictConfig) -> None:
    """Do a stage for the one cell that `config` describes; the whole of a pipeline script.

    In a sweep the driver has named the cell and watches it. Alone, this process does both, and shows a
    progress bar over epochs.

    Raises:
        JobError: in a sweep, whatever went wrong.
    """
    stage = STAGES[stage_name]
    if config.cell is not None:
        try:
            stage.perform(Cell.of(config), lambda record: None)
        except Exception as error:
            raise JobError(named(error)) from error
        give_back_memory()
        return
    cell = Cell.of(config)
    check_folders(stage, cell)
    sweep = Sweep(stage, [cell.named(cell.name)])
    sweep.take_stored()
    epochs = cell.settings.training.epochs
    hidden = None if stage.name == "train" else True
    with (
        Watch(sweep, mirror_for(sweep, [], []), bar=False),
        tqdm(total=epochs, desc=cell.name, unit="epoch", disable=hidden) as bar,
    ):

        def tell(record: EpochRecord) -> None:
            bar.set_postfix_str(f"val {record.val_bits_per_dim:.4f} bits/dim", refresh=False)
            bar.update(record.epoch - bar.n)

        stage.perform(cell, tell)
    print(f"{stage.name}: {near(stage.target(cell), cell)}")


def until_interrupted(main: Callable[[], None]) -> None:
    """Run a pipeline script. Ctrl-C and SIGTERM end it with one line and exit code 128 + the signal."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        number = signal.SIGTERM if isinstance(error, TerminatedError) else signal.SIGINT
        sys.exit(128 + number)


def _terminate(number: int, frame: FrameType | None) -> Never:
    raise TerminatedError
