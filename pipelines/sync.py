"""Bring MLflow up to date from the files in runs/ and evaluations/: all studies, or those named.

    .venv/bin/python pipelines/sync.py [STUDY ...]

Needs no training: after a dead server, an emptied database, or results that came with `dvc pull`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.tracking import grids
from vae_likelihoods.tracking.connection import mlflow_errors, refusal, store_uri
from vae_likelihoods.tracking.contents import varied
from vae_likelihoods.tracking.mirror import Mirror


def main(arguments: Sequence[str] | None = None) -> int:
    """Mirror every cell that is laid out; return 1 after one line if something is wrong with them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY")
    parser.add_argument("--root", type=Path, default=PROJECT, help="folder of runs/ and evaluations/")
    parser.add_argument("--uri", default=os.environ.get("MLFLOW_TRACKING_URI"), help="MLflow's store")
    options = parser.parse_args(arguments)
    root = options.root.absolute()
    studies = options.studies or sorted(path.name for path in (root / "runs").glob("[!.]*"))
    try:
        for study in studies:
            sync(root, study, store_uri(options.uri, root))
    except SettingError as error:
        print(f"sync: {error}", file=sys.stderr)
        return 1
    except mlflow_errors() as error:
        print(f"sync: {refusal(store_uri(options.uri, root), error)}", file=sys.stderr)
        return 1
    return 0


def sync(root: Path, study: str, uri: str) -> None:
    """Mirror one study."""
    cells = [
        Cell.laid_out(path.parent, root) for path in sorted((root / "runs" / study).glob("*/config.yaml"))
    ]
    if not cells:
        raise SettingError("study", study, f"there is no cell in {root / 'runs' / study}")
    mirror = Mirror(uri, root, study)
    grids.end_abandoned(mirror.experiment, cells[0].settings.runtime.cell_store)
    for cell in cells:
        evaluation = cell.evaluation_folder if cell.evaluation_folder.exists() else None
        mirror.update(cell, cell.run_folder, "FINISHED", evaluation, varied(cell, cells))
    grids.settle(mirror.experiment, cells)
    print(f"sync: {study}, {len(cells)} cells")


if __name__ == "__main__":
    sys.exit(main())
