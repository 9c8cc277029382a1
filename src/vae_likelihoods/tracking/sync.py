"""MLflow, brought up to date from the files in runs/ and evaluations/.

Needs no training: after a dead server, an emptied database, or results that came with `dvc pull`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import CONFIG, HISTORY, METRICS
from vae_likelihoods.errors import SettingError, UnavailableError
from vae_likelihoods.files import read_csv
from vae_likelihoods.tracking import contents, grids
from vae_likelihoods.tracking.connection import mlflow_errors, refusal, store_uri
from vae_likelihoods.tracking.contents import varied, weights_of
from vae_likelihoods.tracking.mirror import Mirror
from vae_likelihoods.tracking.registry import register_best

DAMAGE = (SettingError, OSError, ValueError, LookupError, TypeError, YAMLError, OmegaConfBaseException)


@dataclass
class Synced:
    """How many cells of a study are in MLflow now, and what could not be brought, a line each."""

    study: str
    cells: int
    problems: list[str]


def sync(root: Path, studies: Sequence[str], uri: str | None) -> Iterator[Synced]:
    """Mirror every cell that is laid out, study by study; what is damaged keeps nothing else out.

    Args:
        root: the folder of runs/ and evaluations/.
        studies: their names; none: all folders in runs/.
        uri: MLflow's store; None: the database in `root`.

    Raises:
        SettingError: if there is no such folder or address.
        UnavailableError: if MLflow does not answer, or refuses.
    """
    if not root.is_dir():
        raise SettingError("root", root, "there is no such folder")
    address = store_uri(uri, root)
    names = studies or sorted(path.name for path in (root / "runs").glob("[!.]*") if path.is_dir())
    for study in names:
        try:
            yield sync_study(root, study, address)
        except SettingError as error:
            yield Synced(study, 0, [str(error)])
        except mlflow_errors() as error:
            raise UnavailableError(refusal(address, error)) from error


def sync_study(root: Path, study: str, uri: str) -> Synced:
    """Mirror one study.

    Raises:
        SettingError: if it has no cell that can be read.
    """
    problems: list[str] = []
    paths = sorted((root / "runs" / study).glob(f"*/{CONFIG}"))
    cells = [cell for path in paths if (cell := _read(path.parent, root, problems))]
    if not cells:
        there = sorted(path.name for path in (root / "runs").glob("[!.]*") if path.is_dir())
        reason = f"there is no cell in {root / 'runs' / study}"
        raise SettingError("study", study, "; ".join([reason, *problems]), there)
    mirror = Mirror(uri, root, study)
    mirror.experiment.drop_copies()
    grids.end_abandoned(mirror.experiment, cells[0].settings.runtime.cell_store)
    extra, stale = varied(cells), []
    for cell in cells:
        evaluation = cell.evaluation_folder if cell.evaluation_folder.exists() else None
        if evaluation is not None and weights_of(evaluation) != cell.weights:
            stale.append(cell.name)
            evaluation = None
        mirror.update(cell, cell.run_folder, "FINISHED", evaluation, extra)
    grids.settle(mirror.experiment, cells)
    register_best(mirror.experiment)
    if stale:
        problems.append(f"{study}, left out, as of other weights than lie in runs/: {', '.join(stale)}")
    return Synced(study, len(cells), problems)


def _read(folder: Path, root: Path, problems: list[str]) -> Cell | None:
    """Return the cell that lies in `folder`; None, and a line in `problems`, if it is damaged."""
    try:
        cell = Cell.laid_out(folder, root)
        _ = cell.weights, cell.data.sha256
        contents.columns(folder), read_csv(folder / HISTORY)
        if cell.evaluation_folder.exists():
            contents.declarations(json.loads((cell.evaluation_folder / METRICS).read_text()))
    except DAMAGE as error:
        problems.append(f"{folder.relative_to(root)} cannot be read ({' '.join(str(error).split())})")
        return None
    return cell
