"""The table, its place in a page, and the page that is committed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference
from vae_likelihoods.gallery.rows import ROWS
from vae_likelihoods.gallery.table import BEGIN, END, HEADER, cells, check_page, markdown, write_page

PAGE = Path(__file__).parents[2] / "docs" / "gallery.md"
ENTRY = next(entry for entry in ROWS if entry.name == "last_bin")
NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")


def committed() -> dict[str, list[tuple[str, ...]]]:
    """The cells of each line of docs/gallery.md by the name of the row."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    header, _, *lines = (tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in table)
    assert header == HEADER
    for line in lines:
        rows.setdefault(line[0].strip("`") or list(rows)[-1], []).append(line)
    return rows


def numbers(line: tuple[str, ...]) -> Iterator[tuple[float, float]]:
    """The numbers of a line's last three cells, each with one unit of its last of five digits."""
    values = [float(NUMBER.search(cell)[0]) for cell in line[-3:]]
    units = [10.0 ** int(f"{value:e}".partition("e")[2]) * 1e-4 if value else 0.0 for value in values]
    yield from zip(values, (*units[:2], max(units)), strict=True)  # a damage is as exact as its parts


def test_the_committed_page_has_every_row_in_order() -> None:
    assert list(committed()) == [entry.name for entry in ROWS]


@pytest.mark.parametrize("name", [entry.name for entry in ROWS if not entry.trains])
def test_the_committed_numbers_are_those_of_the_code(name: str, rows: dict[str, GalleryRow]) -> None:
    entry = next(entry for entry in ROWS if entry.name == name)
    fresh = list(cells(entry, rows[name]))
    for line, expected in zip(fresh, committed()[name], strict=True):
        assert line[:-3] == expected[:-3]  # all but the numbers
        for (number, _), (value, unit) in zip(numbers(line), numbers(expected), strict=True):
            assert abs(number - value) <= 1.01 * unit, line


def test_a_line_for_every_finding_and_the_words_once() -> None:
    row = GalleryRow(
        "wrong words", "right words", (difference("a", 2, 1, "nats"), Cost("b", 1, 3, 3, "times"))
    )
    assert list(cells(ENTRY, row)) == [
        ("`last_bin`", "scored", "wrong words", "right words", "a", "2", "1", "1 nats"),
        ("", "", "", "", "b", "1", "3", "3 times"),
    ]
    header, sides, *lines = markdown([(ENTRY, row)]).splitlines()
    assert tuple(cell.strip() for cell in header.strip("|").split("|")) == HEADER
    assert sides.count(":") == len(HEADER)
    assert len(lines) == 2


def test_a_damage_has_no_more_digits_than_its_parts() -> None:
    row = GalleryRow(
        "",
        "",
        (
            difference("a", 123.45678, 123.41234, "nats"),
            difference("b", 0, 1e-29, "nats"),
            difference("c", 0, 0, "nats"),
        ),
    )
    first, second, third = cells(ENTRY, row)
    assert first[-3:] == ("123.46", "123.41", "0.04 nats")
    assert second[-3:] == ("0", "1e-29", "1e-29 nats")
    assert third[-3:] == ("0", "0", "0 nats")


def test_a_page_keeps_all_but_its_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{END} before\n{BEGIN}\nold\n{END}\nafter\n")
    for table in ("a table", "another"):
        check_page(page)
        write_page(page, table)
        assert page.read_text() == f"{END} before\n{BEGIN}\n{table}\n{END}\nafter\n"


def test_a_new_page_can_be_written_again(tmp_path: Path) -> None:
    page = tmp_path / "new.md"
    for _ in range(2):
        check_page(page)
        write_page(page, "table")
        assert page.read_text() == f"{BEGIN}\ntable\n{END}\n"


@pytest.mark.parametrize("text", ["no table here\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(SettingError, match="has no lines"):
        check_page(page)
