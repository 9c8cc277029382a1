"""A recommendation as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from vae_likelihoods.report import ranking, recommend, summary

WIDTH = 100


def recommendation(study: str, evaluations: Path, printable: Callable[[str], str] = str) -> str:
    """Return what an evaluated study recommends: one paragraph and one table.

    Args:
        study: the study, a folder of `evaluations`. No other file is read.
        evaluations: the folder of all evaluated studies.
        printable: replaces the characters that the terminal cannot show, before columns are aligned.

    Raises:
        SettingError: if an evaluation is missing or damaged.
    """
    cells = summary.collect(evaluations, {study: []})
    answer = recommend.recommend(ranking.answer(cells, evaluations))
    paragraph = printable(_plain(answer.paragraph))
    return f"{textwrap.fill(paragraph, WIDTH, break_on_hyphens=False)}\n\n{aligned(answer.table, printable)}"


def aligned(table: recommend.Table, printable: Callable[[str], str] = str) -> str:
    """Return a table as text, all columns but the first to the right."""
    rows = [[printable(_plain(text)).replace("`", "") for text in row] for row in (table.header, *table.rows)]
    sides = ("left", *("right" for _ in table.header[1:]))
    return tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ")
