"""A recommendation as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from vae_likelihoods.report import ranking, recommend, summary

WIDTH = 100


def recommendation(study: str, evaluations: Path, printable: Callable[[str], str] = str) -> str:
    """Return what an evaluated study recommends: one paragraph and one table.

    Args:
        study: a folder of `evaluations`, of which alone it is made.
        evaluations: the folder of all evaluated studies.
        printable: replaces what the terminal cannot show; called before columns are aligned.

    Raises:
        SettingError: if an evaluation is missing or damaged.
    """
    cells = summary.collect(evaluations, {study: []})
    answer = recommend.recommend(ranking.answer(cells, evaluations))
    paragraph = printable(_plain(answer.paragraph))
    return f"{textwrap.fill(paragraph, WIDTH, break_on_hyphens=False)}\n\n{aligned(answer.table, printable)}"


def aligned(table: recommend.Table, printable: Callable[[str], str] = str) -> str:
    """Return a table in columns of equal width, numbers to the right."""
    rows = [[printable(_plain(text)).replace("`", "") for text in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ")
