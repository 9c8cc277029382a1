"""Print which likelihood and how many latents a study recommends: one paragraph and one table.

python pipelines/recommend.py --study grey

Made of evaluations/<study>/ alone; nothing is written.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import ranking, recommend, summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the recommendation; return 0, or 1 after one line that says what is missing or damaged."""
    parser = argparse.ArgumentParser(description="Print what a study recommends.")
    parser.add_argument("--study", required=True, metavar="NAME", help="a folder of evaluations/")
    parser.add_argument("--evaluations", type=Path, default=Path("evaluations"), help="default: evaluations")
    options = parser.parse_args(arguments)
    try:
        cells = summary.collect(options.evaluations, {options.study: []})
        made = recommend.recommend(ranking.answer(cells, options.evaluations))
    except SettingError as error:
        print(f"recommend: {error}", file=sys.stderr)
        return 1
    print(textwrap.fill(made.paragraph.replace("\u00a0", " "), width=100, break_on_hyphens=False))
    print(f"\n{aligned(made.table)}")
    return 0


def aligned(table: recommend.Table) -> str:
    """Return a table in columns of equal width, numbers to the right."""
    rows = [[text.replace("`", "") for text in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())
