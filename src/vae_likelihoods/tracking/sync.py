"""MLflow, brought up to date from the files in runs/ and evaluations/.

Needs no training: after a dead server, an emptied database, or results that came with `dvc pull`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import CONFIG
from vae_likelihoods.errors import SettingError, UnavailableError
from vae_likelihoods.tracking import grids
from vae_likelihoods.tracking.connection import mlflow_errors, refusal, store_uri
from vae_likelihoods.tracking.contents import varied, weights_of
from vae_likelihoods.tracking.mirror import Mirror


def sync(root: Path, studies: Sequence[str], uri: str | None) -> Iterator[str]:
    """Mirror every cell that is laid out, study by study; yield a line for each study.

    Args:
        root: the folder of runs/ and evaluations/.
        studies: their names; none: all that lie in runs/.
        uri: MLflow's store; None: the database in `root`.

    Raises:
        SettingError: if a study has no cell.
        UnavailableError: if MLflow does not answer, or refuses.
    """
    names = studies or sorted(path.name for path in (root / "runs").glob("[!.]*"))
    try:
        for study in names:
            count, stale = sync_study(root, study, store_uri(uri, root))
            yield f"sync: {study}, {count} {'cell' if count == 1 else 'cells'}"
            if stale:
                yield f"sync: {study}, left out, as of other weights than lie in runs/: {', '.join(stale)}"
    except mlflow_errors() as error:
        raise UnavailableError(refusal(store_uri(uri, root), error)) from error


def sync_study(root: Path, study: str, uri: str) -> tuple[int, list[str]]:
    """Mirror one study; return how many cells it has, and those whose evaluation is of other weights."""
    cells = [Cell.laid_out(path.parent, root) for path in sorted((root / "runs" / study).glob(f"*/{CONFIG}"))]
    if not cells:
        raise SettingError("study", study, f"there is no cell in {root / 'runs' / study}")
    mirror = Mirror(uri, root, study)
    grids.end_abandoned(mirror.experiment, cells[0].settings.runtime.cell_store)
    extra, stale = varied(cells), []
    for cell in cells:
        evaluation = cell.evaluation_folder if cell.evaluation_folder.exists() else None
        if evaluation is not None and weights_of(evaluation) != cell.weights:
            stale.append(cell.name)
            evaluation = None
        mirror.update(cell, cell.run_folder, "FINISHED", evaluation, extra)
    grids.settle(mirror.experiment, cells)
    return len(cells), stale
