"""Hydra's launcher for grids of cells, around any other launcher (the engine)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from typing_extensions import override

log = logging.getLogger(__name__)

GROUP, ENGINE = "hydra/launcher", "hydra.launcher.engine"


class OwnLaunchers(SearchPathPlugin):
    """Lets conf/hydra/launcher/<name>.yaml stand for `hydra/launcher=<name>` in place of a plugin's own.

    Hydra would check our file against the schema that the plugin registers under the same name. It asks
    for the search path when it has imported every plugin, whatever their order, and composes then.
    """

    @override
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Forget the schemas of the plugins; leave the search path as it is."""
        from vae_likelihoods.sweeps.composing import forget_schemas

        forget_schemas()


class CellLauncher(Launcher):
    """Checks the whole grid before anything runs, names its cells, lets `engine` run what is not stored.

    Args:
        engine: the launcher that runs jobs; `n_jobs`, if it has that setting, is taken from
            runtime.cells_at_once.
    """

    def __init__(self, engine: Launcher) -> None:
        self.engine = engine

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from vae_likelihoods.sweeps.checks import check_writable
        from vae_likelihoods.sweeps.composing import SweepLoader

        # Hydra writes there next; by default it is in the folder of all results.
        where = "runtime.root" if config.runtime.root is None else "hydra.sweep.dir"
        check_writable(where, Path(config.hydra.sweep.dir).resolve())
        loader: Any = SweepLoader(hydra_context.config_loader)
        self.context, self.config = HydraContext(loader, hydra_context.callbacks), config
        with _refusals_of_the_engine(config):
            self.engine.setup(hydra_context=self.context, task_function=task_function, config=config)

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job for each list of overrides; return when every cell is done.

        Raises:
            SettingError: if any cell of the grid cannot be, before any of them runs.
            SweepError: if cells failed, or were lost again and again.
        """
        # Hydra imports every plugin at its start; torch and the rest only when a sweep is launched.
        from vae_likelihoods.errors import SettingError
        from vae_likelihoods.sweeps.checks import check_folders, check_names
        from vae_likelihoods.sweeps.mirroring import mirror_for
        from vae_likelihoods.sweeps.names import name_with, swept
        from vae_likelihoods.sweeps.stages import STAGES
        from vae_likelihoods.sweeps.sweep import Sweep, named
        from vae_likelihoods.sweeps.watch import Watch

        cells = [self._cell(job) for job in job_overrides]
        extra = swept(job_overrides)
        cells = [
            cell.named(name_with(cell.name, job, extra))
            for cell, job in zip(cells, job_overrides, strict=True)
        ]
        overrides = [[*job, f"cell='{cell.name}'"] for job, cell in zip(job_overrides, cells, strict=True)]
        check_names(cells)
        sweep = Sweep(STAGES[self.config.hydra.job.name], cells, self._overrides())
        check_folders(sweep.stage, cells[0])
        self._set_parallel(cells[0].settings.runtime.parallel)
        sweep.take_stored()

        def launch(indices: list[int]) -> None:
            chosen = [overrides[index] for index in indices]
            try:
                with _refusals_of_the_engine(self.config):
                    results = self.engine.launch(chosen, initial_job_idx)
            except SettingError:
                raise  # the engine refuses its settings
            except Exception as error:
                # A killed worker breaks joblib's pool: what it leaves undone is started again.
                log.warning("the workers broke down: %s", named(error).splitlines()[0])
                return
            for index, result in zip(indices, results, strict=True):
                if result.status == JobStatus.FAILED:
                    sweep.note_error(cells[index], result._return_value)
                elif result.status == JobStatus.COMPLETED:  # else the engine lost it
                    sweep.note_error(cells[index], None)

        with Watch(sweep, mirror_for(sweep, list(self.config.hydra.overrides.task), extra)):
            sweep.run(launch, one_by_one=self._pooled)
        return [JobReturn(overrides=job, status=JobStatus.COMPLETED) for job in overrides]

    def _cell(self, overrides: Sequence[str]) -> Any:
        from hydra.core.hydra_config import HydraConfig

        from vae_likelihoods.cells.cell import Cell

        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return Cell.of(config)

    def _overrides(self) -> list[str]:
        """Return what the user wrote after -m, which Hydra keeps as an override of its own."""
        overrides = self.config.hydra.overrides
        return [*overrides.task, *(text for text in overrides.hydra if not text.startswith("hydra.mode="))]

    @property
    def _pooled(self) -> bool:
        """Whether the engine is joblib's, whose workers die together."""
        return hasattr(self.engine, "joblib")

    def _set_parallel(self, count: int) -> None:
        if "n_jobs" in (settings := getattr(self.engine, "joblib", {})):
            settings["n_jobs"] = count


@contextmanager
def _refusals_of_the_engine(config: DictConfig) -> Iterator[None]:
    """Add where the engine stands in the configuration to what it refuses inside the block."""
    from vae_likelihoods.errors import SettingError, UnavailableError, under

    try:
        with under(ENGINE):
            yield
    except UnavailableError as error:
        chosen = config.hydra.runtime.choices[GROUP]
        raise SettingError(GROUP, chosen, str(error)) from None
