"""Repeat a published protocol: train its grid, evaluate it, print ours beside the paper's.

.venv/bin/python pipelines/experiment.py iwae
.venv/bin/python pipelines/experiment.py iwae-fashion_mnist --output docs/results.md
.venv/bin/python pipelines/experiment.py sigma_vae training.epochs=2 seed=0      # with any further overrides
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_likelihoods.errors import SettingError
from vae_likelihoods.experiments.base import report
from vae_likelihoods.experiments.collecting import collect, experiment_of, names
from vae_likelihoods.experiments.page import check_page, write_page
from vae_likelihoods.files import PROJECT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the store does not have, print the table; return 0, or 1 after one line that says why not."""
    options = parse(arguments)
    try:
        experiment = experiment_of(options.name)
        if options.output is not None:
            check_page(options.output, options.name)
        for stage in () if options.table else ("train", "evaluate"):
            for part in (options.name, *experiment.parts):
                if (code := run(stage, part, options.overrides)) != 0:
                    return code
        text = report(experiment, collect(options.name, options.overrides))
        print(text)
        if options.output is not None:
            write_page(options.output, options.name, text)
    except SettingError as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 1
    return 0


def run(stage: str, part: str, overrides: Sequence[str]) -> int:
    """Run a stage for the grid of a YAML in conf/experiment; return its exit code."""
    script = str(PROJECT / "pipelines" / f"{stage}.py")
    return subprocess.run(
        [sys.executable, script, "-m", f"experiment={part}", *overrides], check=False
    ).returncode


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help=f"one of {', '.join(names())}")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="further overrides, for every cell")
    parser.add_argument("--table", action="store_true", help="run nothing, print what was evaluated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page that gets the table, too")
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
