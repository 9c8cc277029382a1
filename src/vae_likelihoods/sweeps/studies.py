"""The studies of params.yaml: the sweep that each stands for, and its grid of cells."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.settings import Runtime, Settings, read
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.refusals import refusal
from vae_likelihoods.sweeps.choices import FOLDER, Choices
from vae_likelihoods.sweeps.names import named, places, swept
from vae_likelihoods.units.variants import CHOSEN

_SWEEPER, _CHOICES = "hydra/sweeper", "hydra.sweeper.choices"
AXES = ("dataset", "levels", "likelihood", "latent_dim", "seed")


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


def overrides(name: str, study: Any, tune: Path | None = None) -> list[str]:
    """Return the settings and axes of a study as Hydra takes them: `train.py -m <overrides>`.

    Every key of the study is one, but for `options`, which has further ones, and `tune`. A study that is
    tuned has its likelihoods and latent sizes from `<tune>/<study>.yaml`, and a sweeper that reads them.

    Args:
        name: of the study.
        study: its axes, as params.yaml has them.
        tune: the folder of what tuning chose; None: the project's.

    Raises:
        SettingError: if the study lacks an axis, or a value is no Hydra sweep.

    Example:
        >>> axes = {"dataset": "digits", "levels": 17, "likelihood": "binomial", "latent_dim": "range(2,4)"}
        >>> overrides("mine", {**axes, "seed": 0, "options": "training.epochs=3"})[2:]
        ['likelihood=binomial', 'latent_dim=range(2,4)', 'seed=0', 'training.epochs=3', 'study=mine']
    """
    with composition("study", name):
        axes = dict(study) if isinstance(study, Mapping) else {}
    where = f"studies.{name}"
    absent = [axis for axis in AXES if axes.get(axis) is None]
    require(not absent, where, study, f"lacks {', '.join(absent)}; docs/adding.md has an example of a study")
    further = options_of(where, axes)
    axes.pop("options", None)
    chosen = []
    if axes.pop("tune", None) is not None:
        path = (tune or PROJECT / FOLDER) / f"{name}.yaml"
        chosen = ["hydra/sweeper=tuned", f"{_CHOICES}={quoted(str(path))}"]
        axes = {key: value for key, value in axes.items() if key not in CHOSEN}
    for key, value in axes.items():
        reason = "must be written as a Hydra sweep: commas between the values, no brackets"
        require(isinstance(value, str | int | float), f"{where}.{key}", value, reason)
    return [*chosen, *(f"{key}={value}" for key, value in axes.items()), *further, f"study={name}"]


def quoted(value: str) -> str:
    """Return a text as a value that Hydra reads back, whatever characters it has; `${` has its own meaning.

    Example:
        >>> print(quoted("it's"))
        'it\\'s'
    """
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + (found[2] and "\\'"), value)
    return f"'{escaped}'"


def options_of(where: str, study: Mapping[str, Any]) -> list[str]:
    """Return the further settings of a study, one by one.

    Raises:
        SettingError: if they cannot be split into words.
    """
    options = study.get("options") or ""
    try:
        return shlex.split(options)
    except (ValueError, AttributeError) as error:
        raise SettingError(f"{where}.options", options, f"cannot be split into words: {error}") from None


def expanded(words: Sequence[str], params: Path) -> list[str]:
    """Return the words of a command line, with the sweep of a study in place of `--study NAME`.

    Further words come after it, so they win.

    Raises:
        SettingError: if `params` has no such study.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--study")
    known, rest = parser.parse_known_args(list(words))
    if known.study is None:
        return rest
    studies = axes(params)
    require(known.study in studies, "study", known.study, f"is not in {params}", studies)
    own = overrides(known.study, studies[known.study], params.parent / FOLDER)
    return ["--multirun", *own, *rest]


def grid(name: str, study: Any, root: Path, tune: Path | None = None) -> list[Cell]:
    """Return the cells that the sweep of a study would have; their parts and data are not checked.

    Args:
        name: of the study.
        study: its axes, as params.yaml has them.
        root: the folder of all results.
        tune: the folder of what tuning chose; None: that in `root`.

    Raises:
        SettingError: if its axes or options cannot be composed, or it was not tuned yet and has `tune`.
    """
    with composition("study", name):
        return cells_of(overrides(name, study, tune or root / FOLDER), root)


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
        reason = " ".join(str(refusal(error) or error).split())
        raise SettingError(kind, name, f"cannot be composed: {reason}") from None


def cells_of(words: Sequence[str], root: Path | None = None) -> list[Cell]:
    """Return the cells of `train.py -m <words>`; their parts and data are not checked.

    Args:
        words: settings and axes; of those with the same key the last one counts.
        root: the folder of all results; None: that of the overrides, or else the project's.
    """
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()  # knows what glob(...) stands for
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
        choices = [each.value() for each in parsed if each.key_or_group == _CHOICES]
        parsed = [each for each in parsed if each.key_or_group not in (_SWEEPER, _CHOICES)]
        if choices:
            jobs = Choices.read(Path(str(choices[-1]))).jobs(parsed)
        else:
            (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    roots = [override.value() for override in parsed if override.key_or_group == "runtime.root"]
    cells = [Cell(settings) for settings in composed(jobs, root or Path(str([PROJECT, *roots][-1])))]
    cells = named(cells, jobs, swept(words))
    return [cells[place] for place in dict.fromkeys(places(cells))]


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
