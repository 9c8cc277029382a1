"""Check a reproduction against what git has: byte for byte, or within a tolerance where bytes cannot agree.

    .venv/bin/python pipelines/verify.py [--tolerance 0.05]

Run it after `dvc repro -f --no-run-cache`. The committed dvc.lock holds the hash of every result. Where the
reproduction's lock is the same, so is every byte. On another platform, with other CPU kernels or another
build of torch, weights differ in their last bits; then every number of reports/summary.csv must lie within
the tolerance (relative; bits per dimension, nats and counts of images and epochs alike).
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from collections.abc import Sequence

import pandas as pd

from vae_likelihoods.sources import PROJECT

SUMMARY = "reports/summary.csv"
CELL = ["study", "cell"]
EXACT = ["dataset", "levels", "likelihood", "latent_dim", "seed", "trained_on", "parameters", "multiply_adds"]
CLOSE = ["bits_per_dim", "nll_nats", "elbo_nats", "distortion_nats"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was compared and the largest difference; return 1 if the numbers are not reproduced."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tolerance", type=float, default=0.05, help="relative, where bytes differ")
    options = parser.parse_args(arguments)
    changed = git("diff", "--name-only", "HEAD", "--", "dvc.lock", "reports").split()
    if not changed:
        print("verify: dvc.lock and reports/ are byte for byte those of the commit")
        return 0
    print(f"verify: other bytes than the commit's in {', '.join(changed)}; comparing the numbers")
    committed = pd.read_csv(io.StringIO(git("show", f"HEAD:{SUMMARY}")))
    faults = compare(committed, pd.read_csv(PROJECT / SUMMARY), options.tolerance)
    for fault in faults:
        print(f"verify: {fault}", file=sys.stderr)
    return 1 if faults else 0


def compare(committed: pd.DataFrame, found: pd.DataFrame, tolerance: float) -> list[str]:
    """Return one sentence for everything that is not reproduced."""
    left, right = committed.set_index(CELL).sort_index(), found.set_index(CELL).sort_index()
    if not left.index.equals(right.index):
        odd = sorted(map("/".join, left.index.symmetric_difference(right.index)))
        return [f"not the same cells: {', '.join(odd)}"]
    faults = [f"{column} differs" for column in EXACT if not left[column].equals(right[column])]
    relative = ((left[CLOSE] - right[CLOSE]).abs() / left[CLOSE].abs()).stack()
    worst = relative.idxmax()
    print(f"verify: largest relative difference {relative.max():.2e} ({'/'.join(worst)})")
    return faults + [
        f"{'/'.join(where)} is off by {value:.2e}, more than {tolerance}"
        for where, value in relative.items()
        if not value <= tolerance
    ]


def git(*command: str) -> str:
    """Return what a git command prints, run in the project."""
    return subprocess.run(["git", *command], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
