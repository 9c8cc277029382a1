"""`pipelines/run`: the command of every stage, in a checkout and in the clones that DVC makes below it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
SHOWS = '#!/bin/sh\necho "$PYTHONPATH|$0|$*"\n'


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["sh", "pipelines/run", "train", "--study", "a b"]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with `pipelines/run` and a .venv whose Python shows how it is called."""
    (tmp_path / "pipelines").mkdir()
    shutil.copy(PROJECT / "pipelines" / "run", tmp_path / "pipelines")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(SHOWS)
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    return tmp_path


def test_a_checkout_has_its_own_python(checkout: Path) -> None:
    assert run(checkout).stdout == f"|{checkout}/.venv/bin/python|pipelines/train.py --study a b\n"


@pytest.mark.parametrize("place", ["standalone/tmp1", "tmp2"])
def test_a_clone_of_dvc_runs_its_own_sources_with_the_python_of_the_checkout(
    checkout: Path, place: str
) -> None:
    clone = checkout / ".dvc" / "tmp" / "exps" / place
    shutil.copytree(checkout / "pipelines", clone / "pipelines")
    shown = run(clone).stdout
    assert shown == f"{clone}/src|{checkout}/.venv/bin/python|pipelines/train.py --study a b\n"


def test_no_python_is_one_line(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    done = run(checkout)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pipelines/run: {checkout} has no .venv; run `make setup` there\n"


@pytest.mark.parametrize("pipeline", ["dvc.yaml", "optional/dvc.yaml"])
def test_no_command_has_words_that_a_shell_could_take_for_something_else(pipeline: str) -> None:
    for stage in yaml.safe_load((PROJECT / pipeline).read_text())["stages"].values():
        command = stage.get("do", stage)["cmd"]
        assert re.fullmatch(r"sh pipelines/run \w+( --study '\$\{key\}'| 'dataset=\$\{item\}')?", command)
