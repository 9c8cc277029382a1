"""The names of the cells of a sweep: the values of what it varies, and of what each cell's model reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.unread import unread

LONGEST = 150
"""Characters of a name: files and folders whose names begin with it must fit a file system's 255."""

_ALWAYS = {"likelihood", "latent_dim", "seed", "cell", "study"}
_HASH = 10  # hexadecimal digits that stand for the end of a longer name


def swept(overrides: Iterable[str]) -> list[str]:
    """Return the keys that a sweep varies, without those that every cell's name has anyway.

    Args:
        overrides: those of the whole sweep, so that names do not hang on how its cells are launched; of those
            with the same key the last one counts.

    Example:
        >>> swept(["seed=0,1", "network=mlp,conv", "optimizer.lr=1e-3"])
        ['network']
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    last = {each.key_or_group: each.is_sweep_override() for each in parsed}
    return sorted(key for key, varies in last.items() if varies and key not in _ALWAYS)


def chosen_by_sweeper(jobs: Iterable[Sequence[str]], overrides: Iterable[str]) -> set[str]:
    """Return the keys that the jobs of a sweep set, and its command line does not: its sweeper chose them.

    Example:
        >>> chosen_by_sweeper([["seed=0", "optimizer.lr=0.0037"]], ["seed=0"])
        {'optimizer.lr'}
    """
    given = {each.key_or_group for each in OverridesParser.create().parse_overrides(list(overrides))}
    set_by_jobs = {setting.lstrip("+").partition("=")[0] for job in jobs for setting in job}
    return set_by_jobs - given - _ALWAYS - {"tuned"}


def named(cells: Sequence[Cell], jobs: Sequence[Sequence[str]], extra: Sequence[str]) -> list[Cell]:
    """Return the cells under the names that they have in a sweep.

    A name has no value of a setting that the cell's model does not read. The model itself is in it already
    where it stands for the likelihood; else it is added, if two models would share a name.

    Args:
        cells: of the jobs.
        jobs: the overrides of each.
        extra: the keys that the sweep varies, see `swept`.
    """
    others = [key for key in extra if key != "model"]
    plain = [_name(cell, job, others) for cell, job in zip(cells, jobs, strict=True)]
    models: dict[str, set[str]] = {}
    for cell, name in zip(cells, plain, strict=True):
        models.setdefault(name, set()).add(cell.settings.names["model"])
    names = [
        _name(cell, job, extra) if len(models[name]) > 1 else name
        for cell, job, name in zip(cells, jobs, plain, strict=True)
    ]
    return [cell.named(name) for cell, name in zip(cells, names, strict=True)]


def _name(cell: Cell, job: Sequence[str], extra: Sequence[str]) -> str:
    ignored = unread(cell.settings.model)
    read = [key for key in extra if key not in ignored and key.partition(".")[0] not in ignored]
    return name_with(cell.name, job, read)


def places(cells: Sequence[Cell]) -> list[int]:
    """Return for each cell the place of the first one that is the same: what they differ in is not read.

    Cells of one name that learn otherwise stay apart, and are refused later.
    """
    first: dict[str, int] = {}
    found = []
    for place, cell in enumerate(cells):
        other = first.setdefault(cell.name, place)
        found.append(other if cells[other].settings.learned == cell.settings.learned else place)
    return found


def name_with(name: str, job: Sequence[str], extra: Sequence[str]) -> str:
    """Return a cell's name, followed by the values of the `extra` keys that the sweep varies.

    A name that would be too long ends in a hash of the whole one.

    Example:
        >>> name_with("gaussian-8-0", ["network.hidden=[64,64]", "seed=0"], ["network.hidden"])
        'gaussian-8-0-hidden=64,64'
    """
    values = dict(setting.lstrip("+").partition("=")[::2] for setting in job)
    plain = {key: re.sub(r"[^A-Za-z0-9_.,+-]", "", values[key]) for key in extra if key in values}
    whole = name + "".join(f"-{key.rpartition('.')[2]}={value}" for key, value in plain.items())
    if len(whole) <= LONGEST:
        return whole
    return f"{whole[: LONGEST - _HASH - 1]}-{hashlib.sha256(whole.encode()).hexdigest()[:_HASH]}"
