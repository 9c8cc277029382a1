"""What a sweep ends with: its cells with their bits/dim, best first, and the next command.

Everything is read from the files that the stage laid out. A file that is missing or damaged leaves its cell
out of the table, and costs the sweep nothing.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import HISTORY, METRICS
from vae_likelihoods.files import PROJECT, read_csv
from vae_likelihoods.sweeps.stages import Stage

SHOWN = 20  # number of cells in the table; a grid may have hundreds


class CellScore(NamedTuple):
    """The bits/dim of a cell, and on what they were measured: scores on different scales are not compared."""

    scale: str
    bits_per_dim: float
    cell: str
    samples: int = 0  # k of a bound on log p(x): bounds of another k are another scale; 0: the score is exact


def summary(stage: Stage, cells: Sequence[Cell]) -> list[str]:
    """Return a table for every scale on which the cells were scored, the best cell first.

    Exact scores stand among the bounds with the most samples, which are the least loose.
    """
    scores = sorted(score for cell in cells if (score := _score(stage, cell)) is not None)
    lines: list[str] = []
    for scale in dict.fromkeys(score.scale for score in scores):
        own = [score for score in scores if score.scale == scale]
        most = max(score.samples for score in own)
        for k in dict.fromkeys(score.samples or most for score in own):
            lines += _table(stage, scale, [score for score in own if (score.samples or most) == k])
    return lines


def _table(stage: Stage, scale: str, ranked: Sequence[CellScore]) -> list[str]:
    """Return the lines of one table, the best cell first; a score is marked as exact if others are bounds."""
    kinds = dict.fromkeys(f"k = {score.samples}" if score.samples else "exact" for score in ranked)
    kind = "" if stage.name == "train" else f", {' or '.join(sorted(kinds))}"
    marks = [" (exact)" if len(kinds) > 1 and not score.samples else "" for score in ranked]
    shown = list(zip(ranked, marks, strict=True))[:SHOWN]
    return [
        f"{scale}{kind}, best first:",
        *(f"  {score.bits_per_dim:8.4f}  {score.cell}{mark}" for score, mark in shown),
        *([f"  and {len(ranked) - SHOWN} more"] if len(ranked) > SHOWN else []),
    ]


def next_command(stage: Stage, cell: Cell, overrides: Sequence[str]) -> str:
    """Return what to type next: evaluate the same cells, or report their study.

    Args:
        stage: what was done.
        cell: any of the cells.
        overrides: what the user wrote, -m among it.
    """
    if stage.name == "train":
        words = ["pipelines/evaluate.py", *overrides]
    else:
        folders = () if cell.root == PROJECT else ("runs", "evaluations", "reports", "logs")
        elsewhere = [word for name in folders for word in (f"--{name}", str(cell.root / name))]
        words = ["pipelines/report.py", "--study", cell.study, *elsewhere]
    return f"next: .venv/bin/python {shlex.join(words)}"


def score_of(stage: Stage, cell: Cell) -> float | None:
    """Return the bits/dim of a cell after a stage, None if it has none: on validation after `train`."""
    score = _score(stage, cell)
    return None if score is None else score.bits_per_dim


def _score(stage: Stage, cell: Cell) -> CellScore | None:
    """Return the cell's score; None if it has none that is a number."""
    read = score_on_validation if stage.name == "train" else score_on_test
    try:
        score = read(cell, stage.target(cell))
    except Exception:  # whatever is wrong with a file, the sweep is done
        return None
    return score if math.isfinite(score.bits_per_dim) else None


def score_on_validation(cell: Cell, folder: Path) -> CellScore:
    """Return the score of the epoch whose weights were kept, from history.csv in `folder`."""
    epochs = {int(row["epoch"]): row for row in read_csv(folder / HISTORY)}
    last = max(epochs)
    kept = epochs[cell.settings.training.kept_epoch(int(epochs[last]["best_epoch"]), last)]
    return CellScore(f"validation bits/dim on {_data(cell)}", float(kept["val_bits_per_dim"]), cell.name)


def score_on_test(cell: Cell, folder: Path) -> CellScore:
    """Return the score on the test images, from metrics.json in `folder`; one that is exact has no k."""
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    bits, samples = float(metrics["bits_per_dim"]), int(metrics["importance_samples"] or 0)
    return CellScore(f"test bits/dim on {_data(cell)}", bits, cell.name, samples)


def _data(cell: Cell) -> str:
    settings = cell.settings
    drawn = " drawn at random" if settings.binarize == "stochastic" else ""
    return f"{settings.names['dataset']} at {settings.levels} levels{drawn}"
