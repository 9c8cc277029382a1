"""Open a trained model by its folder, or as the best of a study."""

from __future__ import annotations

from pathlib import Path

import torch

from vae_likelihoods.errors import require
from vae_likelihoods.trained.folder import RunFolder
from vae_likelihoods.trained.model import TrainedModel


def load(source: str | Path, device: str = "auto", trust: bool = False) -> TrainedModel:
    """Return a trained model; neither a data set nor the project is needed for a folder.

    A folder from elsewhere runs no code: only likelihoods, networks and models of this package are built,
    and weights are read as safetensors.

    Args:
        source: a folder such as ``runs/grey/beta_binomial-8-0``, or a copy of it. Or a study that was
            evaluated here or in the project, such as ``grey``: its best setting, the lowest seed.
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


def _folder(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if path.is_dir() or isinstance(source, Path) or len(path.parts) != 1:
        return path
    from vae_likelihoods.report import best  # pandas, which a folder does without

    root = best.root_of(f"evaluations/{source}")
    there = sorted({each.parent.parent.name for each in (root / "evaluations").glob("*/*/metrics.json")})
    reason = "there is no such folder, and no evaluated study of this name here or in the project"
    require(source in there, "source", source, reason, there)
    return root / "runs" / source / best.of_study(source, root).cell


def _device(name: str) -> torch.device:
    there = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
        "cpu",
    ]
    require(name in ("auto", *there), "device", name, "is not on this machine", ["auto", *there])
    return torch.device(there[0] if name == "auto" else name)
