"""A study that joins params.yaml: comments stay, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.search.joining import join_project

STUDY: dict[str, Any] = {
    "dataset": "photos",
    "levels": 256,
    "likelihood": "gaussian,binomial",
    "latent_dim": "8,32",
    "seed": "1,2,3",
    "options": "network=mlp 'network.hidden=[128,128]' training.epochs=30",
    "tune": {"trials": 4, "seed": 0, "finalists": 4},
}


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(PROJECT / "params.yaml", tmp_path))


def test_a_study_joins_and_all_else_stays(params: Path) -> None:
    old = params.read_text()
    join_project("photos", STUDY, params)
    new = yaml.safe_load(params.read_text())
    before = yaml.safe_load(old)
    assert new["studies"].pop("photos") == STUDY
    assert new["datasets"].pop() == "photos"
    assert new == before
    comments = [line for line in old.splitlines() if line.lstrip().startswith("#")]
    assert all(line in params.read_text().splitlines() for line in comments)


def test_joining_again_changes_the_seeds_alone_and_another_study_is_refused(params: Path) -> None:
    join_project("photos", STUDY, params)
    once = params.read_text()
    join_project("photos", {**STUDY, "seed": "1,2"}, params)
    assert params.read_text() == once.replace("seed: 1,2,3", "seed: 1,2", 1)  # the first study of the file
    join_project("photos", STUDY, params)
    assert params.read_text() == once
    with pytest.raises(SettingError, match="has another study of this name"):
        join_project("photos", {**STUDY, "levels": 16}, params)
    with pytest.raises(SettingError, match="has another study of this name"):
        join_project("grey", STUDY, params)
    assert params.read_text() == once


@pytest.mark.parametrize("text", ["datasets:\n- digits\nstudies: {}\n", "studies: {}\n"])
def test_a_file_of_another_form_is_left_as_it_is(params: Path, text: str) -> None:
    params.write_text(text)
    with pytest.raises(SettingError, match="add the study by hand"):
        join_project("photos", STUDY, params)
    assert params.read_text() == text
