"""Keys survive moving: code counts, where it stands does not. Code of somebody's own package counts too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of, targets, without_modules
from vae_likelihoods.files import PROJECT

KEYS = """
import sys
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.stages import STAGES

with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
    config = compose("config", sys.argv[1:], return_hydra_config=True)
HydraConfig.instance().set_config(config)
with open_dict(config):
    del config["hydra"]
cell = Cell.of(config)
print(cell.key, *(cell.measurement_of(name, "weights").key for name in sorted(cell.settings.metric)))
print(PROJECT, file=sys.stderr)
"""
SETTINGS = (
    "dataset=digits",
    "likelihood=student_t",
    "network.hidden=[4]",
    "objective=iwae",
    "runtime.device=cpu",
)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the project's sources and configuration."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(PROJECT / name, tmp_path / "copy" / name, ignore=ignored)
    return tmp_path / "copy"


def keys(copy: Path, root: Path) -> list[str]:
    """Return the keys of a cell and of its measurements, by the code of a copy."""
    done = subprocess.run(
        [sys.executable, "-c", KEYS, *SETTINGS, f"runtime.root='{root}'"],
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == str(copy)
    return done.stdout.split()


def move(copy: Path, old: str, new: str) -> None:
    """Move a module or a package, and write its new name wherever the old one stands."""
    package = copy / "src" / "vae_likelihoods"
    source, target = (package.joinpath(*name.split(".")) for name in (old, new))
    if not source.is_dir():
        source, target = source.with_suffix(".py"), target.with_suffix(".py")
    target.parent.mkdir(exist_ok=True)
    source.rename(target)
    for path in [*copy.rglob("*.py"), *copy.rglob("*.yaml")]:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"vae_likelihoods.{old}", f"vae_likelihoods.{new}"), encoding="utf-8")


@pytest.mark.slow
def test_moving_and_renaming_modules_changes_no_key(copied: Path, prepared_root: Path) -> None:
    before = keys(copied, prepared_root)
    assert len(before) > 3
    move(copied, "likelihoods.numerics", "maths.tools")
    move(copied, "likelihoods", "families")
    move(copied, "networks.mlp", "networks.fully_connected")
    move(copied, "training.trainer", "training.fitting")
    move(copied, "objectives", "losses")
    move(copied, "metrics.bound", "metrics.scores.bound")
    assert keys(copied, prepared_root) == before


NOISE = """from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

"""


def test_moving_a_definition_changes_no_key_and_editing_it_does(copied: Path, prepared_root: Path) -> None:
    before = keys(copied, prepared_root)
    models = copied / "src" / "vae_likelihoods" / "models"
    text = (models / "vae.py").read_text()
    start, end = text.index("class Rows("), text.index("def reparameterised(")
    (models / "noise.py").write_text(NOISE + text[start:end])
    imports = "from vae_likelihoods.models.noise import Noise, Rows, standard_normal\n"
    head = text[:start].replace(
        "from vae_likelihoods.networks.base", f"{imports}from vae_likelihoods.networks.base"
    )
    (models / "vae.py").write_text(head + text[end:])
    assert keys(copied, prepared_root) == before

    edited = (models / "noise.py").read_text().replace("torch.randn(", "torch.rand(")
    (models / "noise.py").write_text(edited)
    assert not set(keys(copied, prepared_root)) & set(before)


def test_targets_are_in_the_order_of_their_keys_wherever_they_stand() -> None:
    settings = {
        "z": {"_target_": "last"},
        "a": {"_target_": "outer", "parts": [{"_target_": "inner"}, 3], "name": "x"},
        "m": 1,
    }
    assert list(targets(settings)) == ["outer", "inner", "last"]


def test_the_module_of_a_class_is_no_part_of_a_key_but_its_name_and_settings_are() -> None:
    def content(target: str, scale: float = 1) -> dict[str, object]:
        return {"likelihood": {"laws": [{"_target_": target, "scale": scale}]}}

    assert without_modules(content("a.b.Law")) == content("Law")
    assert key_of(content("a.b.Law")) == key_of(content("c.Law"))
    assert key_of(content("a.b.Law")) != key_of(content("a.b.Other"))
    assert key_of(content("a.b.Law")) != key_of(content("a.b.Law", 2))


def test_a_cell_that_was_trained_before_a_class_moved_is_still_the_same(
    small_cell: Callable[..., Cell], prepared_root: Path
) -> None:
    cell = small_cell("study=moved", "likelihood=binomial", root=prepared_root)
    cell.run_folder.mkdir(parents=True)
    text = OmegaConf.to_yaml(OmegaConf.create(cell.description()))
    moved = text.replace("vae_likelihoods.likelihoods.binomial.Binomial", "elsewhere.Binomial")
    (cell.run_folder / "config.yaml").write_text(moved)
    cell.check_trained()
