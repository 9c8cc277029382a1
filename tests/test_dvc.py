"""dvc.yaml and params.yaml against the code that they run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_likelihoods import sources
from vae_likelihoods.build import likelihoods_for

PROJECT = Path(__file__).parents[1]
STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())


@pytest.mark.parametrize("name", STAGES)
def test_every_module_that_a_stage_imports_is_among_its_deps(name: str) -> None:
    stage = STAGES[name].get("do", STAGES[name])
    script = PROJECT / shlex.split(stage["cmd"])[1]
    plugins = (
        (PROJECT / "src" / "hydra_plugins").rglob("*.py") if "src/hydra_plugins" in stage["deps"] else []
    )
    imported = [module for path in (script, *plugins) for module in sources.imports(path)]
    deps = [PROJECT / dep for dep in stage["deps"] if "$" not in dep]
    for module in sources.closure(imported):
        path = sources.module_path(module)
        assert any(path.is_relative_to(dep) for dep in deps), f"{name} imports {module}, no dep covers it"
    assert script in deps


@pytest.mark.parametrize("name", STAGES)
def test_every_dep_is_there(name: str) -> None:
    stage = STAGES[name].get("do", STAGES[name])
    built = ("data/", "runs", "evaluations")
    for dep in stage["deps"]:
        if "$" not in dep and not dep.startswith(built):
            assert (PROJECT / dep).exists(), dep


@pytest.mark.parametrize("group", sorted(path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()))
def test_every_group_of_settings_is_a_dep_of_the_stages_that_compose_it(group: str) -> None:
    for name in ("train", "evaluate"):
        deps = STAGES[name]["do"]["deps"]
        measured_later = name == "train" and group == "metric"
        per_study = group == "dataset"
        assert f"conf/{group}" in deps or measured_later or per_study


def test_the_default_studies_try_every_likelihood_that_applies() -> None:
    same_as_bernoulli = {"binomial", "beta_binomial"}  # at two levels
    binary = set(PARAMS["studies"]["binary"]["likelihood"].split(","))
    assert binary == set(likelihoods_for(2)) - same_as_bernoulli
    assert set(PARAMS["studies"]["grey"]["likelihood"].split(",")) == set(likelihoods_for(256))


def test_every_study_uses_a_data_set_that_the_pipeline_prepares() -> None:
    assert {study["dataset"] for study in PARAMS["studies"].values()} <= set(PARAMS["datasets"])
