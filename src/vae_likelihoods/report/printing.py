"""A recommendation as plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from vae_likelihoods.report import ranking, recommend, summary, tuning

WIDTH = 100


def recommendation(
    study: str,
    root: Path,
    params: Mapping[str, Any],
    printable: Callable[[str], str] = str,
    home: Path | None = None,
) -> str:
    """Return what an evaluated study recommends: one paragraph and one table.

    Args:
        study: its name.
        root: the folder of evaluations/, and of runs/, whose weights must be those that were evaluated.
        params: what params.yaml says.
        printable: replaces the characters that the terminal cannot show, before columns are aligned.
        home: the folder of params.yaml, which has tune/ beside it; None: `root`.

    Raises:
        SettingError: if an evaluation is missing or damaged, or of other weights.
    """
    evaluations, runs = root / "evaluations", root / "runs"
    named, optional = summary.study_axes(params, [study]), params.get("optional") or ()
    cells = summary.collect(evaluations, named, optional, runs)
    tuned = tuning.of_study(study, home or root, cells)
    answer = recommend.recommend(ranking.answer(cells, evaluations), tuned)
    lacking = [summary.unevaluated(runs, study, cells), summary.missing(cells)]
    texts = [*(f"{each}." for each in lacking if each), _plain(answer.paragraph)]
    wrapped = [textwrap.fill(printable(text), WIDTH, break_on_hyphens=False) for text in texts]
    return "\n\n".join([*wrapped, aligned(answer.table, printable)])


def aligned(table: recommend.Table, printable: Callable[[str], str] = str) -> str:
    """Return a table as text, all columns but the first to the right."""
    rows = [[printable(_plain(text)).replace("`", "") for text in row] for row in (table.header, *table.rows)]
    sides = ("left", *("right" for _ in table.header[1:]))
    return tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ")
