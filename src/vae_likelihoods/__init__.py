"""Which likelihood, and how many latents? VAEs that are trained, scored and compared on one scale.

`load` opens a trained model. What it needs is imported when it is called: importing the package stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from vae_likelihoods.trained.model import Posterior, TrainedModel

__all__ = ["Posterior", "TrainedModel", "load"]


def load(source: str | Path, device: str = "auto", trust: bool = False) -> TrainedModel:
    """Return a trained model; neither a data set nor the project is needed for a folder.

    A folder from elsewhere runs no code: only likelihoods, networks and models of this package are built,
    and weights are read as safetensors.

    Args:
        source: a folder such as ``runs/grey/beta_binomial-8-0``, or a copy of it; a folder of results with
            one evaluated study, such as ``answers/photos``: its best setting, the lowest seed; the name of a
            study that was evaluated here, in the project or as an answer in ``answers/``, such as ``grey``:
            the same; or a registered model of MLflow, such as ``models:/grey@best``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        trust: whether classes from other packages, which the folder names, may be imported and run.

    Returns:
        the model, ready to use.

    Raises:
        SettingError: there is no such model, it is damaged, or it names what may not be run.
        UnavailableError: MLflow does not answer.
    """
    from vae_likelihoods.trained import loading

    if not str(source).startswith("models:/"):
        return loading.load(source, device, trust)
    import tempfile
    from pathlib import Path

    from vae_likelihoods.errors import SettingError
    from vae_likelihoods.tracking.registry import fetched  # MLflow is slow to import

    with tempfile.TemporaryDirectory() as aside:
        try:
            folder = fetched(str(source), Path(aside))
        except SettingError as error:
            database = loading.database_of_answer(str(source))
            if database is None:
                raise
            reason = f"{error.reason}; that of the answer is MLFLOW_TRACKING_URI=sqlite:///{database}"
            raise SettingError(error.key, error.value, reason) from None
        return loading.load(folder, device, trust)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vae_likelihoods.trained import model

    return getattr(model, name)
