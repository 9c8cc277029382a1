"""The names of the cells of a sweep: the values of what it varies."""

from __future__ import annotations

import re
from collections.abc import Sequence


def swept(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys that the sweep varies, without those that every cell's name has anyway.

    Example:
        >>> swept([["seed=0", "network=mlp"], ["seed=1", "network=conv"]])
        ['network']
    """
    always = {"likelihood", "latent_dim", "seed", "cell", "study"}
    values: dict[str, set[str]] = {}
    for job in jobs:
        for setting in job:
            key, _, value = setting.lstrip("+").partition("=")
            values.setdefault(key, set()).add(value)
    return sorted(key for key, choices in values.items() if len(choices) > 1 and key not in always)


def name_with(name: str, job: Sequence[str], extra: Sequence[str]) -> str:
    """Return a cell's name, followed by the values of the `extra` keys that the sweep varies.

    Example:
        >>> name_with("gaussian-8-0", ["network.hidden=[64,64]", "seed=0"], ["network.hidden"])
        'gaussian-8-0-hidden=64,64'
    """
    values = dict(setting.lstrip("+").partition("=")[::2] for setting in job)
    plain = {key: re.sub(r"[^A-Za-z0-9_.,+-]", "", values[key]) for key in extra if key in values}
    return name + "".join(f"-{key.rpartition('.')[2]}={value}" for key, value in plain.items())
