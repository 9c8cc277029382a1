"""The two stages as a user runs them, in a copy of the project whose path has a space."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vae_likelihoods.datasets.prepared import PreparedDataset

PROJECT = Path(__file__).parents[2]
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
ROLES = ("train_images", "train_labels", "test_images", "test_labels")
PREPARED = {"manifest.json", "contact_sheet.png", "data_card.json", "data_card.md"} | {
    f"{split}_{what}.npy" for split in ("train", "validation", "test") for what in ("images", "labels")
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a configuration and the two scripts, and no data."""
    root = tmp_path / "a project"
    shutil.copytree(PROJECT / "conf", root / "conf")
    (root / "pipelines").mkdir()
    for stage in ("download", "prepare"):
        shutil.copy(PROJECT / "pipelines" / f"{stage}.py", root / "pipelines")
    return root


def run(project: Path, stage: str, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a stage from an unrelated folder."""
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    command = [sys.executable, str(project / "pipelines" / f"{stage}.py"), *overrides]
    variables = {key: value for key, value in os.environ.items() if key != "VAE_LIKELIHOODS_MIRROR"}
    done = subprocess.run(
        command, cwd=elsewhere, env={**variables, **environment}, capture_output=True, text=True, timeout=120
    )
    assert list(elsewhere.iterdir()) == []
    return done


def data_files(project: Path) -> set[str]:
    """Everything below data/, hidden files included."""
    data = project / "data"
    return {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}


def check_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The run failed with a message for people: no traceback."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_the_default_set_from_nothing_to_prepared(project: Path) -> None:
    for stage in ("download", "prepare"):
        done = run(project, stage)
        assert (done.returncode, done.stderr) == (0, "")
    raw = {f"raw/mnist5k/{name}.npy" for name in ("images", "labels")}
    assert data_files(project) == raw | {f"prepared/mnist5k/{name}" for name in PREPARED}
    data = PreparedDataset(project / "data" / "prepared" / "mnist5k")
    data.verify()
    assert (data.shape, data.native_levels, data.count("test")) == ((1, 28, 28), 256, 500)
    assert {path.name for path in project.iterdir()} == {"conf", "pipelines", "data", "logs"}
    assert list((project / "logs").rglob("*.log")) != []


def make_mirror(folder: Path) -> tuple[Path, list[str]]:
    """Write a small set in MNIST's form; return its folder and the overrides that state its checksums."""
    draw, overrides = np.random.default_rng(0), ["dataset=mnist", "dataset.validation_size=10"]
    folder.mkdir(parents=True)
    for role, name in zip(ROLES, NAMES, strict=True):
        count = 40 if "train" in role else 20
        if role.endswith("images"):
            content = struct.pack(">IIII", 2051, count, 28, 28) + draw.bytes(count * 784)
        else:
            content = struct.pack(">II", 2049, count) + bytes(index % 10 for index in range(count))
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        overrides.append(f"dataset.files.{role}.md5='{hashlib.md5(content).hexdigest()}'")
    return folder, overrides


def test_idx_files_from_a_folder_given_on_the_command_line(project: Path, tmp_path: Path) -> None:
    mirror, overrides = make_mirror(tmp_path / "a mirror")
    done = run(project, "download", *overrides, f"dataset.mirrors=['{mirror}']")
    assert done.returncode == 0, done.stderr
    assert data_files(project) == {f"raw/mnist/{name}" for name in NAMES}
    done = run(project, "download", *overrides, "dataset.mirrors=[]")
    assert "everything was already" in done.stdout
    done = run(project, "prepare", *overrides)
    assert done.returncode == 0, done.stderr
    assert "30 train, 10 validation, 20 test" in done.stdout
    PreparedDataset(project / "data" / "prepared" / "mnist").verify()


def test_idx_files_from_the_folder_in_the_environment(project: Path, tmp_path: Path) -> None:
    _, overrides = make_mirror(tmp_path / "cluster" / "mnist")
    done = run(project, "download", *overrides, VAE_LIKELIHOODS_MIRROR=str(tmp_path / "cluster"))
    assert done.returncode == 0, done.stderr
    assert data_files(project) == {f"raw/mnist/{name}" for name in NAMES}


def test_a_damaged_mirror_leaves_nothing_and_is_named(project: Path, tmp_path: Path) -> None:
    mirror, overrides = make_mirror(tmp_path / "damaged")
    packed = (mirror / f"{NAMES[0]}.gz").read_bytes()
    (mirror / f"{NAMES[0]}.gz").write_bytes(packed[: len(packed) // 2])
    done = run(project, "download", *overrides, f"dataset.mirrors=[{mirror},/no/such/folder]")
    check_refused(done, str(mirror), "truncated or damaged", "/no/such/folder", f"no {NAMES[0]}.gz there")
    assert data_files(project) == set()


def test_preparing_before_downloading_is_refused_with_the_command(project: Path) -> None:
    done = run(project, "prepare", "dataset=mnist")
    check_refused(done, ".venv/bin/python pipelines/download.py dataset=mnist")
    assert data_files(project) == set()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset=minst", ["minst", "mnist5k", "fashion_mnist"]),  # Hydra lists the choices
        ("dataset.validation_sise=3", ["validation_sise"]),
        ("dataset.validation_size=-3", ["dataset.validation_size=-3: must be a number of images, 1 or more"]),
        ("dataset.test_size=all", ["dataset.test_size=all: must be a number of images, 1 or more"]),
    ],
)
def test_a_wrong_setting_is_refused(project: Path, override: str, words: list[str]) -> None:
    check_refused(run(project, "download", override), *words)
    assert not (project / "data").exists()
