"""Rows as a Markdown table, and the place of the table in a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from tabulate import tabulate

from vae_likelihoods.errors import require
from vae_likelihoods.files import write_text
from vae_likelihoods.gallery.record import Cost, GalleryRow
from vae_likelihoods.gallery.rows import GalleryEntry

BEGIN, END = "<!-- gallery -->", "<!-- /gallery -->"
DIGITS = 5
HEADER = ("error", "how", "what people write", "what is right", "number", "right", "wrong", "damage")
_SIDES = (*["left"] * 5, *["right"] * 3)


def markdown(computed: Iterable[tuple[GalleryEntry, GalleryRow]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [line for entry, row in computed for line in cells(entry, row)]
    return tabulate(lines, HEADER, tablefmt="pipe", colalign=_SIDES, disable_numparse=True)


def cells(entry: GalleryEntry, row: GalleryRow) -> Iterator[tuple[str, ...]]:
    """Yield the cells of a line of the table for every finding; the first line also describes the error."""
    first = (f"`{entry.name}`", "trained" if entry.trains else "scored", row.written, row.right)
    for index, finding in enumerate(row.findings):
        numbers = (finding.measured, digits(finding.right), digits(finding.wrong))
        damage = f"{digits(rounded_damage(finding))} {finding.unit}"
        yield *(first if index == 0 else [""] * 4), *numbers, damage


def digits(value: float) -> str:
    """Return `DIGITS` significant digits."""
    return f"{value + 0.0:.{DIGITS}g}"  # + 0.0: a zero gets no minus sign


def rounded_damage(finding: Cost) -> float:
    """Return the damage, rounded to the last digit that is printed of the larger number."""
    largest = max(abs(finding.right), abs(finding.wrong))
    if largest == 0:
        return finding.damage
    return round(finding.damage, DIGITS - 1 - math.floor(math.log10(largest)))


def check_page(page: Path) -> None:
    """Refuse a page that exists and has no place for the table (SettingError)."""
    if page.exists():
        inside = page.read_text(encoding="utf-8").partition(BEGIN)[2]
        require(END in inside, "output", page, f"has no lines {BEGIN} and {END}")


def write_page(page: Path, table: str) -> None:
    """Put `table` between the markers of `page`; a new page has the markers and the table only."""
    text = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, after = text.partition(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{table}\n{END}{after.partition(END)[2]}")
