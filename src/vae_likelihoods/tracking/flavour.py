"""How MLflow loads a registered model of this package: `mlflow.pyfunc.load_model("models:/grey@best")`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_likelihoods.trained.loading import load
from vae_likelihoods.trained.model import TrainedModel


class BitsPerDim:
    """Scores images: what `predict` of the registered model does.

    Args:
        model: the trained model.
    """

    def __init__(self, model: TrainedModel) -> None:
        self.model = model

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> NDArray[np.float64]:
        """Return bits/dim of images, levels [N, C, H, W], with 128 importance samples: [N]."""
        scores: NDArray[np.float64] = self.model.bits_per_dim(np.asarray(images))
        return scores


def _load_pyfunc(data_path: str) -> BitsPerDim:
    """Return what MLflow calls; this is the name that it looks for."""
    return BitsPerDim(load(data_path))
