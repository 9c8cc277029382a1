"""`vae-likelihoods study`: what it refuses, and one optional study through DVC in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vae_likelihoods.cli.app import main

PROJECT = Path(__file__).parents[2]
SMALL = """
    dataset: digits
    levels: 17
    latent_dim: 2
    seed: 0
    options: network.hidden=[16] training.epochs=2 metric.bound.samples=4 runtime.device=cpu tracking=none
"""
PARAMS = f"""
datasets: [digits]
studies:
  binary:
    likelihood: binomial{SMALL}
  grey:
    likelihood: gaussian{SMALL}
optional:
  tiny:
    likelihood: gaussian,beta_binomial{SMALL}
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "study=nonsense: is not among the optional studies"),
        ("", "study=(none): is not among the optional studies"),
        ("grey", "study=grey: runs with `make repro`"),
    ],
)
def test_what_is_no_optional_study_is_one_line_with_the_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert main(["study", name, "--params", str(tmp_path / "params.yaml")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"study: {message}")
    assert line.endswith("Choices: tiny.")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with small studies, and nothing computed."""
    root = tmp_path / "a project"
    root.mkdir()
    for folder in ("conf", "pipelines", "src", "optional"):
        shutil.copytree(
            PROJECT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.lock")
        )
    for file in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(PROJECT / file, root)
    (root / "params.yaml").write_text(PARAMS)
    (root / ".venv").symlink_to(Path(sys.executable).parents[1])
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)
    return root


def run(project: Path, *command: str) -> list[str]:
    """Run a Python command in the project; return the stages that DVC ran."""
    inherited = {key: value for key, value in os.environ.items() if key != "VAE_LIKELIHOODS_STORE"}
    env = {**inherited, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


def written(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_an_optional_study_is_run_when_asked_for_only_once_and_left_alone_by_repro(project: Path) -> None:
    tiny = project / "reports" / "tiny"
    needed = ["download@digits", "prepare@digits"]
    stages = [f"optional/dvc.yaml:{stage}@tiny" for stage in ("tune", "train", "evaluate", "report")]
    assert run(project, "-m", "vae_likelihoods", "study", "tiny") == needed + stages
    assert run(project, "-m", "vae_likelihoods", "study", "tiny") == []
    results = written(tiny)
    ran = run(project, "-m", "dvc", "repro")
    stages = ("tune", "train", "evaluate", "evaluated")
    assert sorted(ran) == sorted(
        ["report", *(f"{s}@{study}" for s in stages for study in ("binary", "grey"))]
    )
    again = run(project, "-m", "dvc", "repro", "--force", "--no-run-cache")
    assert sorted(again) == sorted(ran + needed)
    assert written(tiny) == results
    assert (tiny.parent / "summary.csv").is_file()
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "reports/tiny", "runs", "evaluations"],
        cwd=project, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    small = (
        "environment.json",
        "figures/tiny-dark.svg",
        "figures/tiny.svg",
        "metrics.json",
        "plots/bits_per_dim.csv",
        "plots/stability.csv",
        "summary.csv",
        "table.md",
    )
    assert listed == [f"reports/tiny/{name}" for name in small]
