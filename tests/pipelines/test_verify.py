"""What `make verify` accepts and what it does not."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def verify() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify", PROJECT / "pipelines" / "verify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def committed() -> pd.DataFrame:
    return pd.read_csv(PROJECT / "reports" / "summary.csv")


def test_the_same_numbers_pass_in_any_order(verify: ModuleType, committed: pd.DataFrame) -> None:
    assert verify.compare(committed, committed.sample(frac=1, random_state=0), tolerance=0) == []


def test_last_digits_pass_and_other_numbers_do_not(verify: ModuleType, committed: pd.DataFrame) -> None:
    found = committed.copy()
    found["nll_nats"] *= 1.001
    assert verify.compare(committed, found, tolerance=0.01) == []
    found.loc[3, "bits_per_dim"] *= 1.5
    (fault,) = verify.compare(committed, found, tolerance=0.01)
    assert committed.loc[3, "cell"] in fault
    assert "bits_per_dim" in fault


def test_a_number_that_is_none_does_not_pass(verify: ModuleType, committed: pd.DataFrame) -> None:
    found = committed.copy()
    found.loc[0, "elbo_nats"] = float("nan")
    assert verify.compare(committed, found, tolerance=0.5)


def test_other_cells_and_other_models_do_not_pass(verify: ModuleType, committed: pd.DataFrame) -> None:
    (fault,) = verify.compare(committed, committed.iloc[1:], tolerance=1)
    assert committed.loc[0, "cell"] in fault
    assert verify.compare(committed, committed.assign(parameters=1), tolerance=1) == ["parameters differs"]


def test_the_summary_has_the_columns_that_others_build_on(verify: ModuleType) -> None:
    header = (PROJECT / "reports" / "summary.csv").read_text().splitlines()[0]
    columns = pd.read_csv(io.StringIO(header + "\n")).columns
    first = [
        "study",
        "dataset",
        "levels",
        "likelihood",
        "latent_dim",
        "seed",
        "bits_per_dim",
        "nll_nats",
        "elbo_nats",
    ]
    assert list(columns[: len(first)]) == first
    assert {*verify.CELL, *verify.EXACT, *verify.CLOSE} <= set(columns)
