"""One job of a sweep, or a single run: a stage performed for one cell, and how a signal ends it."""

from __future__ import annotations

import ctypes
import gc
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Never

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from tqdm import tqdm

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.checks import check_folders, check_replaced
from vae_likelihoods.sweeps.mirroring import mirror_for
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.sweeps.studies import expanded
from vae_likelihoods.sweeps.sweep import JobError, Sweep, named, near
from vae_likelihoods.sweeps.watch import Watch
from vae_likelihoods.training.trainer import EpochRecord


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived; it is handled as Ctrl-C is."""


def return_memory() -> None:
    """Return freed memory to the operating system, which `prepare_cpu` prevents while a cell is computed.

    Joblib assumes that a worker which has grown by 300 MB leaks memory: it warns, and ends the worker.
    """
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def run_job(stage_name: str, config: DictConfig) -> None:
    """Perform a stage for the cell that `config` describes: all that a script of pipelines/ does.

    In a sweep the driver has named the cell and watches it. In a single run this process does both, and
    shows a progress bar over epochs.

    Raises:
        JobError: in a sweep, for any error.
    """
    stage = STAGES[stage_name]
    if config.cell is not None:
        try:
            stage.perform(Cell.of(config), lambda record: None)
        except Exception as error:
            raise JobError(named(error)) from error
        return_memory()
        return
    _refuse_unnamed_sweep()
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

        stage.perform(cell, show)
    print(f"{stage.name}: {near(stage.target(cell), cell)}")


def _refuse_unnamed_sweep() -> None:
    """Refuse a sweep whose launcher has not named its cells: they would share one folder.

    Raises:
        SettingError: naming the launchers that do.
    """
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is not None and hydra.mode == RunMode.MULTIRUN:
        own = sorted(path.stem for path in (PROJECT / "conf/hydra/launcher").glob("*.yaml"))
        launcher = hydra.runtime.choices["hydra/launcher"]
        raise SettingError("hydra/launcher", launcher, "gives the cells of a sweep no names", own)


def until_interrupted(main: Callable[[], None]) -> None:
    """Run a script of pipelines/; Ctrl-C and SIGTERM end it with one line and exit code 128 + the signal.

    `--study NAME` on its command line stands for the sweep of that study of params.yaml.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.argv[1:] = expanded(sys.argv[1:], PROJECT / "params.yaml")
        main()
    except SettingError as error:  # those of `main` Hydra prints
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        received = signal.SIGTERM if isinstance(error, TerminatedError) else signal.SIGINT
        sys.exit(128 + received)


def _terminate(number: int, frame: FrameType | None) -> Never:
    raise TerminatedError
