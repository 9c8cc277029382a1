"""The stages' --help: what it lists is there, and what it shows can be typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

PROJECT = Path(__file__).parents[2]
SCRIPTS = sorted((PROJECT / "pipelines").iterdir())
PRIMARY = {"download": "data", "prepare": "data", "train": "config", "evaluate": "config"}
LAUNCHERS = {path.stem for path in (PROJECT / "conf" / "hydra" / "launcher").glob("*.yaml")}
each_stage = pytest.mark.parametrize("stage", PRIMARY)


@cache
def shown(stage: str) -> str:
    """The help, as a terminal without Unicode gets it."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "pipelines" / f"{stage}.py"), "--help"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines())) <= 120
    return done.stdout


def composed(stage: str, overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return compose(stage, overrides, return_hydra_config=True)


def settings(stage: str) -> dict[str, str]:
    """Every setting that the help lists, and what it says of it."""
    part = shown(stage).partition("Settings")[2].partition("Examples:")[0]
    return {
        key: " ".join(text.split())
        for key, text in re.findall(r"^  ([\w./]+)\s+(\S.*(?:\n {10,}.*)*)", part, re.MULTILINE)
    }


def examples(stage: str) -> list[list[str]]:
    """The words after the program of every example."""
    program = rf"^ +\.venv/bin/python pipelines/{stage}\.py(.*)$"
    return [shlex.split(line, comments=True) for line in re.findall(program, shown(stage), re.MULTILINE)]


def test_pipelines_has_the_stages_alone_each_a_recipe() -> None:
    assert {path.stem for path in SCRIPTS if path.suffix == ".py"} == {
        *PRIMARY,
        "tune",
        "evaluated",
        "report",
    }
    for path in SCRIPTS:
        assert path.is_dir() or len(path.read_text().splitlines()) <= 60, path.name


@each_stage
def test_every_setting_can_be_set(stage: str) -> None:
    listed = settings(stage)
    assert {"dataset"} < listed.keys()
    config = composed(stage, ["dataset=mnist"])
    for key in listed:
        is_group = (PROJECT / "conf" / key).is_dir()
        assert is_group or OmegaConf.select(config, key, default="absent") != "absent", key


@each_stage
def test_every_choice_is_listed_and_composes(stage: str) -> None:
    groups = {key: text for key, text in settings(stage).items() if (PROJECT / "conf" / key).is_dir()}
    assert len(groups) > (1 if PRIMARY[stage] == "config" else 0)
    for group, text in groups.items():
        if group != "hydra/launcher":
            names = {path.stem for path in (PROJECT / "conf" / group).glob("*.yaml")}
            assert names <= set(re.split(r"[ ,]+", text)), group
            for name in names:
                composed(stage, [f"{group}=[{name}]" if group == "metric" else f"{group}={name}"])


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_the_launchers_are_those_of_conf(stage: str) -> None:
    listed = settings(stage)["hydra/launcher"].partition(": ")[2]
    assert set(re.split(r", | or ", listed)) == LAUNCHERS


@each_stage
def test_three_examples_compose(stage: str) -> None:
    assert len(examples(stage)) == 3
    for words in examples(stage):
        parsed = OverridesParser.create().parse_overrides([word for word in words if word != "-m"])
        (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
        assert (len(jobs) > 1) == ("-m" in words)
        for job in jobs:
            composed(stage, list(job))


@each_stage
def test_a_stage_is_configured_as_its_common_file_says(stage: str) -> None:
    """conf/<stage>.yaml adds the help and nothing else."""
    own, common = (composed(name, ["dataset=mnist"]) for name in (stage, PRIMARY[stage]))
    for config in (own, common):
        config.hydra.job.config_name = config.hydra.help.header = config.hydra.help.footer = ""
        config.hydra.job.name = config.hydra.runtime.output_dir = ""
    assert own == common


def test_the_help_of_report_has_examples_that_can_be_typed() -> None:
    lines = examples("report")
    assert [words[:1] for words in lines] == [[], ["--study"], ["--readme"]]
