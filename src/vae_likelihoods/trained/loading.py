"""Open a trained model by its folder, or as the best of a study."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vae_likelihoods.cells.run_files import CONFIG, MODEL, WEIGHTS
from vae_likelihoods.errors import require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.trained.folder import RunFolder
from vae_likelihoods.trained.model import TrainedModel

_ANSWERS = "answers"  # where `vae-likelihoods answer` writes: a folder of results for each answer


def load(source: str | Path, device: str = "auto", trust: bool = False) -> TrainedModel:
    """Return a trained model; neither a data set nor the project is needed for a folder.

    A folder from elsewhere runs no code: only likelihoods, networks and models of this package are built,
    and weights are read as safetensors.

    Args:
        source: a folder such as ``runs/grey/beta_binomial-8-0``, or a copy of it; a folder of results with
            one evaluated study, such as ``answers/photos``: its best setting, the lowest seed; or the name of
            a study that was evaluated here, in the project or as an answer in ``answers/``, such as ``grey``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        trust: whether classes from other packages, which the folder names, may be imported and run.

    Returns:
        the model, ready to use.

    Raises:
        SettingError: there is no such folder or study, it is damaged, or it names what may not be run.
    """
    folder = RunFolder.read(_folder(source))
    model = folder.model(trust).to(_device(device))
    return TrainedModel(model, folder.config, folder.shape, folder.decoding)


def database_of_answer(address: str) -> Path | None:
    """Return MLflow's database of the answer whose study an address such as ``models:/photos@best`` names.

    None: there is no such answer, neither here nor in the project.
    """
    name = re.split("[@/]", address.removeprefix("models:/"))[0]
    paths = (root / _ANSWERS / name / "mlflow.db" for root in (Path.cwd(), PROJECT))
    return next((path for path in paths if path.is_file()), None)


def _folder(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if any((path / name).exists() for name in (CONFIG, MODEL, WEIGHTS)):
        return path
    if studies := _evaluated(path):
        reason = "several studies were evaluated in it; name the folder of a cell, runs/STUDY/CELL in it"
        require(len(studies) == 1, "source", source, reason, studies)
        return _of_best(studies[0], path)
    if isinstance(source, str) and len(path.parts) == 1:
        named = _by_name()
        if source in named:
            return _of_best(source, named[source])
        places = f"here, in the project or in {_ANSWERS}/"
        reason = f"there is no such folder, and no evaluated study of this name {places}"
        require(path.is_dir(), "source", source, reason, named)
    reason = f"is no folder of a trained cell (it has no {CONFIG}), and no study was evaluated in it"
    require(not path.is_dir(), "source", source, reason)
    return path


def _by_name() -> dict[str, Path]:
    """Return the studies that a name is enough for, with the folder of their results."""
    roots = Path.cwd(), PROJECT
    found = {study: root for root in reversed(roots) for study in _evaluated(root)}
    for answer in (answer for root in roots for answer in sorted((root / _ANSWERS).glob("*"))):
        if answer.name in _evaluated(answer):
            found.setdefault(answer.name, answer)
    return found


def _evaluated(root: Path) -> list[str]:
    """Return the studies of which a cell was evaluated in a folder of results."""
    return sorted({each.parents[1].name for each in (root / "evaluations").glob("*/*/metrics.json")})


def _of_best(study: str, root: Path) -> Path:
    from vae_likelihoods.report import best  # pandas, which a folder does without

    return root / "runs" / study / best.of_study(study, root).cell


def _device(name: str) -> torch.device:
    there = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
        "cpu",
    ]
    require(name in ("auto", *there), "device", name, "is not on this machine", ["auto", *there])
    return torch.device(there[0] if name == "auto" else name)
