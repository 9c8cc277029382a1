"""The best model of a study as a registered model of MLflow, and back from there as a folder.

The model is the run folder itself: config.yaml, model.json and safetensors. MLflow loads it with a function
of this package (`flavour`), so nothing is pickled, and `vae_likelihoods.load("models:/grey@best")` reads the
same files without any of MLflow's own loading.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vae_likelihoods.cells.run_files import CONFIG, MODEL, WEIGHTS
from vae_likelihoods.errors import SettingError, UnavailableError, require
from vae_likelihoods.report import best
from vae_likelihoods.tracking.connection import (
    connect,
    mlflow_errors,
    reason_of,
    refusal,
    shown,
    store_uri,
)
from vae_likelihoods.tracking.experiment import Experiment, with_tags
from vae_likelihoods.trained.loading import load

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

ALIAS = "best"
FOLDER = "model"
"""Of the artifacts of the run that the model belongs to."""

_RUN = "run"  # in MLflow's folder `data`
_EXAMPLES = 2  # images of the input example


def register_reported(runs: Path, evaluations: Path, studies: Sequence[str]) -> None:
    """Register the best model of each study that MLflow has, after it was reported; see `register_best`.

    MLflow is where MLFLOW_TRACKING_URI says, or else the database beside both folders; without one, or if
    they lie apart, nothing is done. An error of MLflow is one warning, and costs the report nothing.
    """
    given, root = os.environ.get("MLFLOW_TRACKING_URI"), runs.absolute().parent
    if evaluations.absolute().parent != root or not (given or (root / "mlflow.db").is_file()):
        return
    try:
        uri = store_uri(given, root)
        client = connect(uri, root)
        for study in studies:
            if client.get_experiment_by_name(study) is not None:
                register_best(Experiment(uri, root, study))
    except SettingError as error:
        log.warning("no model was registered: %s", error)
    except mlflow_errors() as error:
        log.warning("no model was registered: %s", refusal(uri, error))


def register_best(experiment: Experiment) -> str | None:
    """Register the best cell of a study under the study's name, with the alias `best`; return its version.

    What is registered already is left as it is. A study whose answer names no best has none: nothing was
    evaluated, the cells cannot be compared, or no model beats the baselines.

    Returns:
        the version that has the alias; None if there is no best.
    """
    try:
        found = best.of_study(experiment.study, experiment.root)
    except SettingError:
        return None
    cell = experiment.root / "runs" / experiment.study / found.cell
    if not (cell / MODEL).is_file():
        return None
    mark = json.loads((cell / MODEL).read_text(encoding="utf-8"))["sha256"][WEIGHTS]
    with _quietly():
        known = _with_alias(experiment.client, experiment.study)
    if known is not None and known.tags.get("weights") == mark and known.description == found.card:
        return str(known.version)
    run = next(iter(experiment.search(with_tags({"kind": "train", "cell": found.cell}))), None)
    if run is None:
        return None
    run_id = run.info.run_id
    with tempfile.TemporaryDirectory() as aside:
        _save(cell, Path(aside) / FOLDER)
        experiment.client.log_artifacts(run_id, str(Path(aside) / FOLDER), FOLDER)
    return _register(experiment, run_id, mark, found)


def _register(experiment: Experiment, run_id: str, mark: str, found: best.Best) -> str:
    client, name = experiment.client, experiment.study
    tags, source = {"cell": found.cell, "weights": mark}, f"runs:/{run_id}/{FOLDER}"
    with _quietly():
        try:
            client.create_registered_model(name)
        except mlflow_errors():
            client.get_registered_model(name)  # it is there already; else this says what is wrong
        made = client.create_model_version(name, source, run_id, tags, description=found.card)
        client.set_registered_model_alias(name, ALIAS, made.version)
    return str(made.version)


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out the warnings that MLflow's own imports and queries give: nobody here can act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with_alias(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except mlflow_errors():
        return None


def _save(cell: Path, target: Path) -> None:
    """Write a run folder as a model of MLflow: with signature and input example, loaded by `flavour`."""
    with _quietly():
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

    model = load(cell, device="cpu")
    images = model.sample(_EXAMPLES, seed=0)
    bits = np.asarray(model.bits_per_dim(images, samples=1), np.float64)
    signature = ModelSignature(
        Schema([TensorSpec(images.dtype, (-1, *images.shape[1:]))]), Schema([TensorSpec(bits.dtype, (-1,))])
    )
    with tempfile.TemporaryDirectory() as aside:
        data = Path(aside) / _RUN
        data.mkdir()
        for name in (CONFIG, MODEL, WEIGHTS):
            shutil.copyfile(cell / name, data / name)
        mlflow.pyfunc.save_model(
            str(target),
            loader_module="vae_likelihoods.tracking.flavour",
            data_path=str(data),
            signature=signature,
            input_example=images,
            pip_requirements=[f"vae-likelihoods=={version('vae-likelihoods')}"],
        )


def fetched(address: str, target: Path) -> Path:
    """Download the model at an address such as ``models:/grey@best`` into a folder; return its run folder.

    MLflow is where MLFLOW_TRACKING_URI says, or else the database of the folder in which this is called, or
    of the project. The files are copied and nothing of them is run.

    Raises:
        SettingError: there is no such model, or it is none of this package.
        UnavailableError: MLflow does not answer.
    """
    root = best.root_of("mlflow.db")
    uri = store_uri(os.environ.get("MLFLOW_TRACKING_URI"), root)
    if uri.startswith("sqlite:///") and "MLFLOW_TRACKING_URI" not in os.environ:
        there = (root / "mlflow.db").is_file()
        require(there, "model", address, f"{root} has no mlflow.db; set MLFLOW_TRACKING_URI")
    try:
        connect(uri, root)
        import mlflow.artifacts
        from mlflow import MlflowException

        try:
            with _quietly():
                folder = mlflow.artifacts.download_artifacts(address, dst_path=str(target), tracking_uri=uri)
        except MlflowException as error:
            raise SettingError("model", address, f"{reason_of(uri, error)} ({shown(uri)})") from None
    except mlflow_errors() as error:
        raise UnavailableError(f"MLflow at {shown(uri)} does not answer ({reason_of(uri, error)})") from error
    inside = Path(folder) / "data" / _RUN
    require((inside / MODEL).is_file(), "model", address, "is no model of vae-likelihoods")
    return inside
