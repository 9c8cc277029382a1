"""Compute the gallery of wrong losses and print it as a Markdown table.

.venv/bin/python -m vae_likelihoods.gallery [--dataset NAME] [--cheap] [--rows NAME ...] [--output FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.rows import ROWS, computed
from vae_likelihoods.gallery.table import HEAD, check_page, lines, write_page


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table as its rows are computed, and write it; return 1 if a setting cannot be."""
    options = parse(arguments)
    try:
        if options.output is not None:
            check_page(options.output)
        table: list[str] = []
        for line in table_of(options):
            print(line, flush=True)
            table.append(line)
        if options.output is not None:
            write_page(options.output, "\n".join(table))
    except SettingError as error:
        print(f"gallery: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vae_likelihoods.gallery", description=(__doc__ or "").splitlines()[0]
    )
    names = [entry.name for entry in ROWS]
    parser.add_argument("--dataset", default="mnist5k", help="a prepared data set (default: %(default)s)")
    parser.add_argument(
        "--rows", nargs="+", choices=names, metavar="NAME", help=f"only these of {', '.join(names)}"
    )
    parser.add_argument("--cheap", action="store_true", help="only rows that train nothing")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page that gets the table, too")
    parser.add_argument("--seed", type=int, default=0, help="everything random comes from it")
    parser.add_argument("--root", type=Path, default=PROJECT, help="folder of data/")
    return parser.parse_args(arguments)


def table_of(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table, each row's as soon as it is computed.

    Raises:
        SettingError: if the data set is not prepared (says which commands prepare it), or no row is left.
    """
    wanted = [entry for entry in ROWS if options.rows is None or entry.name in options.rows]
    chosen = [entry for entry in wanted if not (options.cheap and entry.trains)]
    require(len(chosen) > 0, "rows", " ".join(options.rows or ()), "all of them train; leave out --cheap")
    images = Images.of(PreparedDataset(options.root / "data" / "prepared" / options.dataset))
    yield from HEAD
    for entry, row in computed(chosen, images, options.seed):
        yield from lines(entry, row)


if __name__ == "__main__":
    sys.exit(main())
