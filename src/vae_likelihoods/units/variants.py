"""What the cells of a study differ in: every setting that has more than one value, but the seed.

A cell's settings are flat: ``{"likelihood": "gaussian", "likelihood.scale": 1.0, "optimizer.lr": 0.001}``.
A part that is built, such as the network, stands under its own key with the name of its YAML or class.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Flat = Mapping[str, Any]

VARIANT = "variant"
"""The column that says in words which of the further settings a cell has."""

USUAL = ("likelihood", "latent_dim")
"""The axes of every study, which have columns of their own."""

_REPEATED, _MODEL = "seed", "model"
CHOSEN = (_MODEL, *USUAL)
"""What a race chooses besides what it tunes."""


def axes(cells: Sequence[Flat], tuned: Collection[str] = ()) -> list[str]:
    """Return the keys in which `cells` differ, beyond likelihood, latent size, seed and what was tuned.

    A value that tuning chose belongs to the likelihood that it was chosen for: it is no axis of the study.

    What models differ in because they are other models is no axis either: that one has a network and another
    has none. The model itself is one where two models have the same likelihood.

    A setting of a part counts only if it differs among cells that have the same part: that a convolutional
    network has channels, and another has none, says no more than that the networks differ.

    Example:
        >>> mlp = {"seed": 0, "network": "mlp", "network.hidden": [64], "optimizer.lr": 0.001}
        >>> conv = {"seed": 1, "network": "conv", "network.channels": [8], "optimizer.lr": 0.001}
        >>> axes([mlp, conv])
        ['network']
    """
    keys = dict.fromkeys(key for cell in cells for key in cell)
    known = {_MODEL, *USUAL, _REPEATED, *tuned}
    of_models = _grouped(cells, _MODEL)
    found = [key for key in keys if key not in known and any(_differs(key, own) for own in of_models)]
    twice = any(_differs(_MODEL, own) for own in _grouped(cells, USUAL[0]))
    return [_MODEL, *found] if twice else found


def variant(cell: Flat, keys: Sequence[str]) -> str:
    """Return the values of these settings in words; those that the cell does not have are left out.

    Example:
        >>> variant({"network": "conv", "optimizer.lr": 0.001}, ["network", "network.hidden", "optimizer.lr"])
        'network=conv, optimizer.lr=0.001'
    """
    return ", ".join(f"{key}={text(cell[key])}" for key in keys if key in cell)


def text(value: Any) -> str:
    """Return a setting's value as a command line has it.

    Example:
        >>> text([64, 64]), text(None), text(0.001), text("cosine")
        ('[64,64]', 'null', '0.001', 'cosine')
    """
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _grouped(cells: Sequence[Flat], key: str) -> list[list[Flat]]:
    """Return the cells, those with the same value of a key together."""
    groups: dict[str, list[Flat]] = {}
    for cell in cells:
        groups.setdefault(text(cell.get(key)), []).append(cell)
    return list(groups.values())


def _differs(key: str, cells: Sequence[Flat]) -> bool:
    parts = key.split(".")
    above = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    values: dict[tuple[str, ...], set[str]] = {}
    for cell in cells:
        same = tuple(text(cell.get(part)) for part in above)
        values.setdefault(same, set()).add(text(cell.get(key)))
    return any(len(each) > 1 for each in values.values())
