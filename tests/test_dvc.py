"""dvc.yaml, optional/dvc.yaml and params.yaml against each other and the code that they run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import yaml
from dvc.repo import Repo

from imports import closure
from vae_likelihoods.cells.build import likelihoods_for

PROJECT = Path(__file__).parents[1]
PARAMS: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())
STUDIES: dict[str, Any] = {**PARAMS["studies"], **PARAMS["optional"]}


def stages(pipeline: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / pipeline).read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in loaded.items()}


DEFAULT, OPTIONAL = stages("dvc.yaml"), stages("optional/dvc.yaml")
every = pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, id=f"{pipeline}:{name}")
        for pipeline, named in (("default", DEFAULT), ("optional", OPTIONAL))
        for name, stage in named.items()
    ],
)


def covers(deps: list[str], path: str) -> bool:
    """Whether `path`, from the project, is one of `deps` or lies in one; `${}` stands for itself."""
    return any(Path(path).is_relative_to(dep) for dep in deps)


def outs(stage: dict[str, Any]) -> list[str]:
    named = [*stage["outs"], *stage.get("metrics", [])]
    return [name for out in named for name in ([out] if isinstance(out, str) else out)]


@every
def test_every_module_that_a_stage_imports_is_among_its_deps(stage: dict[str, Any]) -> None:
    deps, script = stage["deps"], f"pipelines/{shlex.split(stage['cmd'])[2]}.py"
    plugins = "src/hydra_plugins"
    loaded = list((PROJECT / plugins).rglob("*.py")) if covers(deps, plugins) else []
    for path in closure([PROJECT / script, *loaded]):
        name = path.relative_to(PROJECT).as_posix()
        assert covers(deps, name), f"{script} imports {name}, no dep covers it"
    assert script in deps


@every
def test_every_dep_is_there(stage: dict[str, Any]) -> None:
    built = ("data/", "runs/", "evaluations/", "tune/")
    for dep in stage["deps"]:
        if "$" not in dep and not dep.startswith(built):
            assert (PROJECT / dep).exists(), dep


@pytest.mark.parametrize("group", sorted(path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()))
def test_every_group_of_settings_is_a_dep_of_the_stages_that_compose_it(group: str) -> None:
    for name in ("train", "evaluate"):
        measured_later = name == "train" and group == "metric"
        per_study = group == "dataset"
        no_study = group == "experiment"
        assert covers(DEFAULT[name]["deps"], f"conf/{group}") or measured_later or per_study or no_study


def test_no_study_is_an_experiment() -> None:
    for name, study in STUDIES.items():
        assert "experiment=" not in str(study.get("options")), name


def test_optional_studies_are_run_as_the_default_ones_are() -> None:
    assert yaml.safe_load((PROJECT / "optional/dvc.yaml").read_text())["vars"] == ["../params.yaml:optional"]
    for name, stage in OPTIONAL.items():
        default = DEFAULT[name]
        assert stage["wdir"] == ".."
        own_folder = name == "report"
        assert stage["cmd"] == default["cmd"] + (" --study '${key}'" if own_folder else "")
        assert outs(stage) == [
            out.replace("reports/", "reports/${key}/") if own_folder else out for out in outs(default)
        ]
        assert stage["params"] == ["optional.${key}"]
        everything = [dep for dep in default["deps"] if not (own_folder and dep.startswith("evaluations/"))]
        assert all(covers(stage["deps"], dep) for dep in everything)
    assert "evaluations/${key}" in OPTIONAL["report"]["deps"]


def test_the_default_stages_need_nothing_of_the_optional_ones() -> None:
    """A dep that holds an out of a stage makes DVC run that stage first, whichever file it stands in."""
    written = [
        out.replace("${key}", study)
        for stage in OPTIONAL.values()
        for out in outs(stage)
        for study in PARAMS["optional"]
    ]
    for name, stage in DEFAULT.items():
        assert not [out for out in written if covers(stage["deps"], out)], name


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # in a library that DVC uses
@pytest.mark.parametrize("studies", [["mine"], ["binary"], ["binary", "grey", "mine"]], ids="-".join)
def test_the_report_waits_for_every_default_study_and_params_yaml_alone_names_them(
    tmp_path: Path, studies: list[str]
) -> None:
    for name in ("dvc.yaml", "optional/dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    axes = PARAMS["studies"]["grey"]
    (tmp_path / "params.yaml").write_text(yaml.dump({**PARAMS, "studies": dict.fromkeys(studies, axes)}))
    graph = Repo.init(str(tmp_path), no_scm=True).index.graph
    (report,) = (stage for stage in graph if stage.name == "report")
    needed = {stage.name for stage in nx.descendants(graph, report)}
    data = {"download@mnist5k", "prepare@mnist5k"}
    assert needed == data | {
        f"{stage}@{study}" for study in studies for stage in ("tune", "train", "evaluate", "evaluated")
    }


def test_a_name_stands_for_one_study() -> None:
    assert not set(PARAMS["studies"]) & set(PARAMS["optional"])


def test_every_likelihood_is_in_a_study_that_applies_to_it() -> None:
    tried = set()
    for name, study in STUDIES.items():
        likelihoods = set(study["likelihood"].split(","))
        assert likelihoods <= set(likelihoods_for(study["levels"])), name
        tried |= likelihoods
    assert tried == {path.stem for path in (PROJECT / "conf/likelihood").glob("*.yaml")}


def test_every_study_uses_a_data_set_that_the_pipeline_prepares() -> None:
    assert {study["dataset"] for study in STUDIES.values()} <= set(PARAMS["datasets"])
