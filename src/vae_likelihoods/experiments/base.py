"""The contract of an experiment, and its report as Markdown.

An experiment is one file here, which defines `EXPERIMENT`, and one YAML in conf/experiment, which has the
settings and, as the parameters of Hydra's sweeper, the axes. A YAML `<name>-<variant>.yaml` is the same
experiment with other settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from tabulate import tabulate

from vae_likelihoods.cells.cell import Cell


class ProtocolTable(NamedTuple):
    """Text in columns; the columns in `words` are not numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = ()


class PublishedProtocol(ABC):
    """A published protocol.

    Attributes:
        paper: authors, year, title and arXiv number.
        parts: further YAMLs whose cells its table needs.
    """

    paper: str
    parts: tuple[str, ...] = ()

    @abstractmethod
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the table needs to know about an evaluated cell, besides its `facts`."""

    @abstractmethod
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        """Return a row for every configuration, over all seeds: the paper's numbers beside ours."""

    @abstractmethod
    def findings(self, cells: pd.DataFrame) -> list[str]:
        """Return for each of the paper's findings in how many seeds it holds here, and by how much."""

    @abstractmethod
    def differences(self, cells: pd.DataFrame) -> list[str]:
        """Return what differs from the paper's protocol."""


def facts(cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every experiment knows about a cell: its data, its axes and how it was trained."""
    settings = cell.settings
    return {
        "dataset": settings.names["dataset"],
        "likelihood": settings.family,
        "objective": settings.names.get("objective", ""),
        "latent_dim": settings.latents,
        "seed": settings.seed,
        "train_images": settings.training.images or cell.data.count("train"),
        "test_images": metrics["images"],
        "epochs": settings.training.epochs,
        "batch_size": settings.training.batch_size,
        "learning_rate": settings.optimizer.get("lr"),
        "importance_samples": metrics["importance_samples"],
    }


def report(experiment: PublishedProtocol, cells: pd.DataFrame) -> str:
    """Return the table, the findings and the differences of evaluated cells as Markdown."""
    lines = [
        markdown(experiment.table(cells)),
        "",
        *(f"* {finding}" for finding in experiment.findings(cells)),
        "",
        f"What differs from the paper ({experiment.paper}):",
        "",
        *(f"* {difference}" for difference in experiment.differences(cells)),
    ]
    return "\n".join(lines)


def markdown(table: ProtocolTable) -> str:
    """Return a Markdown table, numbers to the right."""
    sides = ["left" if name in table.words else "right" for name in table.columns]
    return tabulate(table.rows, table.columns, tablefmt="pipe", colalign=sides, disable_numparse=True)


def over_seeds(values: pd.Series[float], places: int) -> str:
    """Return the mean, and the standard deviation if there are two values or more.

    Example:
        >>> over_seeds(pd.Series([1.0, 2.0, 3.0]), places=2)
        '2.00 ± 1.00'
    """
    mean = f"{values.mean():.{places}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{places}f}"


def whole_numbers(values: pd.Series[Any]) -> str:
    """Return whole numbers as text: all of them, or a single one if they are equal.

    Example:
        >>> whole_numbers(pd.Series([12, 12, 12])), whole_numbers(pd.Series([12, 13, 12]))
        ('12', '12, 13, 12')
    """
    texts = [str(int(value)) for value in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def verdict(claim: str, per_seed: pd.Series[bool]) -> str:
    """Return in how many seeds `claim` is true.

    Example:
        >>> verdict("A is below B", pd.Series([True, True, False]))
        'A is below B: in 2 of 3 seeds.'
    """
    return f"{claim}: in {int(per_seed.sum())} of {len(per_seed)} seed{'s' if len(per_seed) != 1 else ''}."


def by_seed(cells: pd.DataFrame, configuration: str, number: str) -> pd.DataFrame:
    """Return `number` with a row for each seed and a column for each value of the column `configuration`."""
    return cells.pivot(index="seed", columns=configuration, values=number)


def setting(cells: pd.DataFrame, column: str) -> Any:
    """Return the setting in `column`, which all cells have in common; different values are joined."""
    values = list(dict.fromkeys(cells[column].tolist()))
    return values[0] if len(values) == 1 else ", ".join(map(str, values))
