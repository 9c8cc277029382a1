"""The place of an experiment's report in a page."""

from __future__ import annotations

from pathlib import Path

from vae_likelihoods.errors import require
from vae_likelihoods.files import write_text


def check_page(page: Path, name: str) -> None:
    """Refuse a page that has no place for the experiment (SettingError)."""
    begin, end = _markers(name)
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    require(end in text.partition(begin)[2], "output", page, f"has no lines {begin} and {end}")


def write_page(page: Path, name: str, report: str) -> None:
    """Put `report` between the experiment's markers in `page`."""
    begin, end = _markers(name)
    before, _, after = page.read_text(encoding="utf-8").partition(begin)
    write_text(page, f"{before}{begin}\n{report}\n{end}{after.partition(end)[2]}")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- experiment {name} -->", f"<!-- /experiment {name} -->"
