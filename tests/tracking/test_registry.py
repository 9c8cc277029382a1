"""The best model of a study as a registered model: what it says of itself, and the same numbers back."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import vae_likelihoods as vl
from vae_likelihoods.cli.app import main
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import read_csv
from vae_likelihoods.report import best
from vae_likelihoods.tracking.connection import connect
from vae_likelihoods.tracking.registry import register_reported


@pytest.fixture
def synced(tiny_root: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tiny_root)
    assert main(["sync", "--root", str(tiny_root), "--uri", uri]) == 0
    return uri


def test_the_best_is_registered_once_and_scores_as_it_was_evaluated(synced: str, tiny_root: Path) -> None:
    cell = best.of_study("tiny", tiny_root).cell
    client = connect(synced, tiny_root)
    register_reported(tiny_root / "runs", tiny_root / "evaluations", ["tiny"])  # again
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy, to MLflow's own queries
        version = client.get_model_version_by_alias("tiny", "best")
        versions = client.search_model_versions("name = 'tiny'")
    assert version.tags["cell"] == cell
    assert version.description.startswith(f"# tiny/{cell}\n")
    assert "Trained on: the train split of digits at 17 levels." in version.description
    assert "Limits:" in version.description
    assert len(versions) == 1

    images = PreparedDataset(tiny_root / "data" / "prepared" / "digits").split("test").images.numpy()
    written = [
        float(row["nll_nats"]) for row in read_csv(tiny_root / f"evaluations/tiny/{cell}/per_image.csv")
    ]
    model = vl.load("models:/tiny@best", device="cpu")
    scores = -model.log_prob(images, samples=8)
    assert [float(f"{score:.9g}") for score in scores] == written
    assert np.array_equal(vl.load("tiny", device="cpu").log_prob(images, samples=8), -scores)


def test_mlflow_loads_it_with_signature_and_example_and_unpickles_nothing(
    synced: str, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

    mlflow.set_tracking_uri(synced)
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(pickle, "load", None)
    (model,) = (path.parent for path in Path(tiny_root, "mlartifacts").rglob("MLmodel"))
    assert not [path for path in model.rglob("*") if "pkl" in path.name or "pickle" in path.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = mlflow.pyfunc.load_model("models:/tiny@best")
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    example = loaded.input_example.astype(np.uint8)
    scores = loaded.predict(example)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_a_model_that_is_not_there_is_one_line(synced: str) -> None:
    with pytest.raises(SettingError, match="models:/nosuch@best"):
        vl.load("models:/nosuch@best")


def test_without_mlflow_nothing_is_registered_and_the_refusal_says_where_it_was_looked_for(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tiny_root)
    monkeypatch.setattr(best, "PROJECT", tiny_root)
    register_reported(tiny_root / "runs", tiny_root / "evaluations", ["tiny"])
    assert not (tiny_root / "mlflow.db").exists()
    with pytest.raises(SettingError, match=r"has no mlflow\.db; set MLFLOW_TRACKING_URI"):
        vl.load("models:/tiny@best")
    assert not (tiny_root / "mlflow.db").exists()


def test_a_server_that_does_not_answer_costs_a_report_one_warning(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    register_reported(tiny_root / "runs", tiny_root / "evaluations", ["tiny"])
    (record,) = caplog.records
    assert "no model was registered: MLflow at http://127.0.0.1:1 did not take" in record.message
