"""The studies of params.yaml as grids of cells, composed exactly as their sweeps compose them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.settings import Runtime, Settings, read
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.names import name_with, swept


def runtime(root: Path) -> Runtime:
    """Return the default runtime settings for results in `root`; they say where the store is."""
    default = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf/runtime/default.yaml"), resolve=True)
    return Runtime.model_validate({**dict(default), "root": str(root)})  # type: ignore[arg-type]


def axes(params: Path) -> dict[str, Any]:
    """Return the axes of every study of a params.yaml, default or optional, by its name.

    Raises:
        SettingError: if there is no such file.
    """
    if not params.is_file():
        raise SettingError("params", params, "no such file")
    config = OmegaConf.load(params)
    groups = [OmegaConf.select(config, group) or {} for group in ("studies", "optional")]
    return {str(name): study for group in groups for name, study in group.items()}


def grid(name: str, study: Any, root: Path) -> list[Cell]:
    """Return the cells that the sweep of a study would have; their parts and data are not checked.

    Args:
        name: of the study.
        study: its axes, as params.yaml has them.
        root: the folder of all results.

    Raises:
        SettingError: if its axes or options cannot be composed.
    """
    with composition("study", name):
        return cells_of(_overrides(name, study), root)


@contextmanager
def composition(kind: str, name: str) -> Iterator[None]:
    """Refuse in one line what Hydra or OmegaConf cannot compose inside the block.

    Args:
        kind: of what is composed: study or experiment.
        name: its name.

    Raises:
        SettingError: names the study or experiment.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingError(kind, name, f"cannot be composed: {str(error).splitlines()[0]}") from None


def cells_of(overrides: Sequence[str], root: Path | None = None) -> list[Cell]:
    """Return the cells of `train.py -m <overrides>`; their parts and data are not checked.

    Args:
        overrides: settings and axes; of those with the same key the last one counts.
        root: the folder of all results; None: that of the overrides, or else the project's.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    roots = [override.value() for override in parsed if override.key_or_group == "runtime.root"]
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    cells = [Cell(settings) for settings in composed(jobs, root or Path(str([PROJECT, *roots][-1])))]
    extra = swept(overrides)
    return [cell.named(name_with(cell.name, job, extra)) for cell, job in zip(cells, jobs, strict=True)]


def _overrides(name: str, study: Any) -> list[str]:
    """Return what the stage `train` of dvc.yaml passes to Hydra: its command alone lists the axes."""
    stages = OmegaConf.load(PROJECT / "dvc.yaml")
    command = OmegaConf.select(OmegaConf.merge(stages, {"key": name, "item": study}), "stages.train.do.cmd")
    return [word for word in shlex.split(command)[2:] if word != "-m"]


def composed(jobs: Sequence[Sequence[str]], root: Path) -> list[Settings]:
    """Return the checked settings of each list of overrides, composed as a script of pipelines/ does it."""
    settings = []
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        for job in jobs:
            config = compose("config", list(job), return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            with open_dict(config):
                del config["hydra"]
            config.runtime.root = str(root)
            settings.append(read(config))
    return settings
