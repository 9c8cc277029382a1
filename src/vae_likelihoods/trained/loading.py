"""Find a trained model by its folder, or as the best of a study."""

from __future__ import annotations

from pathlib import Path

import torch

from vae_likelihoods.errors import require
from vae_likelihoods.trained.folder import RunFolder
from vae_likelihoods.trained.model import TrainedModel


def load(source: str | Path, device: str = "auto", trust: bool = False) -> TrainedModel:
    """Return the trained model of a run folder; neither a data set nor the project is needed.

    A folder from elsewhere runs no code: only likelihoods, networks and models of this package are built,
    and weights are read as safetensors.

    Args:
        source: a folder such as ``runs/grey/beta_binomial-8-0``, or a copy of it.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        trust: whether classes from other packages, which the folder names, may be imported and run.

    Returns:
        the model, ready to use.

    Raises:
        SettingError: there is no such folder, it is damaged, or it names what may not be run.
    """
    folder = RunFolder.read(Path(source).expanduser())
    model = folder.model(trust).to(_device(device))
    return TrainedModel(model, folder.config, folder.shape)


def _device(name: str) -> torch.device:
    there = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
        "cpu",
    ]
    require(name in ("auto", *there), "device", name, "is not on this machine", ["auto", *there])
    return torch.device(there[0] if name == "auto" else name)
