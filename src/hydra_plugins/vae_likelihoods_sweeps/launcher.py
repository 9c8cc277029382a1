"""Hydra's launcher for grids of cells. It works with any other launcher, the engine, which runs the jobs."""

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
    """Makes `hydra/launcher=<name>` mean conf/hydra/launcher/<name>.yaml, not the YAML of another plugin.

    Hydra would check our file against the schema that a plugin registered under the same name. It calls this
    class after it has imported every plugin, and composes afterwards.
    """

    @override
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Remove the schemas of the plugins; leave the search path as it is."""
        from vae_likelihoods.sweeps.composing import forget_schemas

        forget_schemas()


class CellLauncher(Launcher):
    """Checks the whole grid before anything runs, names its cells, and lets `engine` run the missing ones.

    Args:
        engine: the launcher that runs jobs. If it has the setting `n_jobs`, runtime.cells_at_once sets it.
    """

    def __init__(self, engine: Launcher) -> None:
        self.engine = engine

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from vae_likelihoods.sweeps.checks import check_writable
        from vae_likelihoods.sweeps.composing import SweepLoader

        # Hydra writes there next; by default it is in the folder of all results.
        key = "runtime.root" if config.runtime.root is None else "hydra.sweep.dir"
        check_writable(key, Path(config.hydra.sweep.dir).resolve())
        loader: Any = SweepLoader(hydra_context.config_loader)
        self.context, self.config = HydraContext(loader, hydra_context.callbacks), config
        with _engine_named(config):
            self.engine.setup(hydra_context=self.context, task_function=task_function, config=config)

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one job for each list of overrides; return when every cell is done.

        A job's value is the cell's validation score in bits/dim (after `train`), for a sweeper that searches.

        Raises:
            SettingError: if a cell of the grid is impossible; then none has run.
            SweepError: if cells failed, or were lost in every round.
        """
        # Hydra imports every plugin at its start; torch is imported when a sweep is launched.
        from vae_likelihoods.errors import SettingError
        from vae_likelihoods.sweeps.checks import check_folders, check_names, check_replaced
        from vae_likelihoods.sweeps.mirroring import mirror_for
        from vae_likelihoods.sweeps.names import chosen_by_sweeper, places, swept
        from vae_likelihoods.sweeps.names import named as with_names
        from vae_likelihoods.sweeps.scores import score_of
        from vae_likelihoods.sweeps.stages import STAGES
        from vae_likelihoods.sweeps.sweep import Sweep, named
        from vae_likelihoods.sweeps.watch import Watch

        cells = [self._cell(job) for job in job_overrides]
        tuned = {key for cell in cells for key in cell.settings.tuned}
        extra = sorted({*swept(self._axes()), *(chosen_by_sweeper(job_overrides, self._axes()) - tuned)})
        cells = with_names(cells, job_overrides, extra)
        overrides = [[*job, f"cell='{cell.name}'"] for job, cell in zip(job_overrides, cells, strict=True)]
        of_jobs = cells
        own = list(dict.fromkeys(places(cells)))  # jobs that differ in what no model reads are one cell
        cells = [cells[place] for place in own]
        check_names(cells)
        sweep = Sweep(STAGES[self.config.hydra.job.name], cells, self._overrides())
        check_folders(sweep.stage, cells[0])
        check_replaced(sweep.stage, cells)
        self._set_parallel(cells[0].settings.runtime.parallel)
        sweep.take_stored()

        def launch(indices: list[int]) -> None:
            jobs = [overrides[own[index]] for index in indices]
            try:
                with _engine_named(self.config):
                    results = self.engine.launch(jobs, initial_job_idx)
            except SettingError:
                raise  # the engine refuses its settings
            except Exception as error:
                # A killed worker ends joblib's pool; unfinished cells are started again.
                log.warning("the workers broke down: %s", named(error).splitlines()[0])
                return
            for index, result in zip(indices, results, strict=True):
                if result.status == JobStatus.FAILED:
                    sweep.note_error(cells[index], result._return_value)
                elif result.status == JobStatus.COMPLETED:  # else the engine lost the job
                    sweep.note_error(cells[index], None)

        with Watch(sweep, mirror_for(sweep, list(self.config.hydra.overrides.task))):
            sweep.run(launch, one_by_one=self._pooled)
        return [
            JobReturn(overrides=job, status=JobStatus.COMPLETED, _return_value=score_of(sweep.stage, cell))
            for job, cell in zip(overrides, of_jobs, strict=True)
        ]

    def _cell(self, overrides: Sequence[str]) -> Any:
        from hydra.core.hydra_config import HydraConfig

        from vae_likelihoods.cells.cell import Cell

        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        return Cell.of(config)

    def _axes(self) -> list[str]:
        """Return the overrides of the whole sweep: Hydra may hand its jobs over in batches."""
        params = self.config.hydra.sweeper.get("params") or {}
        return [*(f"{key}={value}" for key, value in params.items()), *self.config.hydra.overrides.task]

    def _overrides(self) -> list[str]:
        """Return what the user wrote; -m itself Hydra keeps as an override, which is left out."""
        overrides = self.config.hydra.overrides
        return [*overrides.task, *(text for text in overrides.hydra if not text.startswith("hydra.mode="))]

    @property
    def _pooled(self) -> bool:
        """Whether the engine is joblib's, whose workers all end when one of them dies."""
        return hasattr(self.engine, "joblib")

    def _set_parallel(self, count: int) -> None:
        if "n_jobs" in (settings := getattr(self.engine, "joblib", {})):
            settings["n_jobs"] = count


@contextmanager
def _engine_named(config: DictConfig) -> Iterator[None]:
    """Add the engine's place in the configuration to the errors that it raises inside the block."""
    from vae_likelihoods.errors import SettingError, UnavailableError, under

    try:
        with under(ENGINE):
            yield
    except UnavailableError as error:
        launcher = config.hydra.runtime.choices[GROUP]
        raise SettingError(GROUP, launcher, str(error)) from None
