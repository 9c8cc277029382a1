"""What docs/adding.md and docs/data.md say is done in a copy of the project, with no other edit."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from documents.sections import Block, sections
from processes import PROJECT

DOCUMENTS = {name: sections(PROJECT / "docs" / f"{name}.md") for name in ("adding", "data")}
SLOW = {
    *("A likelihood", "A model", "A study", "An experiment", "A metric", "An objective", "A network"),
    "Adding a data set",
}
SECTIONS = [
    pytest.param(name, title, marks=[pytest.mark.slow] if title in SLOW else [])
    for name, parts in DOCUMENTS.items()
    for title, blocks in parts.items()
    if blocks
]
# So that a command takes seconds. What the document itself sets is left as it is.
SMALL = (
    *("dataset=digits", "levels=17", "tracking=none", "runtime.device=cpu", "runtime.cells_at_once=1"),
    *("training.epochs=1", "training.grid_epochs=1", "metric.bound.samples=4"),
)
# What a reader has in the place of the examples.
OWN = {
    "/path/to/folder/of/mypkg": "own",
    "/path/to/conf": "own/conf",
    "/path/to/files": "files",
    "dataset=NAME": "dataset=digits",
    "validation_size: 5000": "validation_size: 12",
}
# In somebody's own package: the classes of the document under other names.
PACKAGE = {
    "HyperbolicSecant": ("laws", "MyLaw"),
    "OrderedLogit": ("like", "MyLikelihood"),
    "AbsoluteError": ("metrics", "MyMetric"),
}
IDX = {"train-images-idx3": 48, "train-labels-idx1": 48, "t10k-images-idx3": 12, "t10k-labels-idx1": 12}


@pytest.fixture
def project(prepared_root: Path, tmp_path: Path) -> Path:
    """A copy of the project, with digits prepared, and a reader's own package and IDX files beside it."""
    folder = copy_of_project(tmp_path / "project")
    shutil.copytree(prepared_root / "data", folder / "data", dirs_exist_ok=True)
    for part in ("own/mypkg", "own/conf/likelihood"):
        (folder / part).mkdir(parents=True)
    (folder / "own/conf/likelihood/my_likelihood.yaml").write_text("_target_: mypkg.like.MyLikelihood\n")
    write_package(folder / "own/mypkg")
    fashion_mnist = folder / "conf/dataset/fashion_mnist.yaml"
    fashion_mnist.write_text(with_checksums(fashion_mnist.read_text(), write_idx(folder / "files")))
    return folder


def copy_of_project(folder: Path) -> Path:
    """Copy the files that git tracks or would track, and link `.venv`."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0"):
        if name and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def write_package(folder: Path) -> None:
    """Write the classes of docs/adding.md as those of a package outside the project."""
    texts = [block.text for parts in DOCUMENTS["adding"].values() for block in parts]
    for name, (module, own_name) in PACKAGE.items():
        (text,) = (text for text in texts if f"class {name}(" in text)
        (folder / f"{module}.py").write_text(text.replace(name, own_name))


def write_idx(folder: Path) -> dict[str, str]:
    """Write 60 images of 28x28 and their labels, not compressed; return the md5 of each file."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in IDX.items():
        images = "images" in name
        shape = (count, 28, 28) if images else (count,)
        values = random.integers(256, size=shape) if images else np.arange(count) % 4
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
        (folder / f"{name}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def with_checksums(text: str, checksums: dict[str, str]) -> str:
    """Replace the md5 of each IDX file in a YAML."""
    for name, md5 in checksums.items():
        text, count = re.subn(rf"(name: {name}\.gz, md5: )\w+", rf"\g<1>{md5}", text)
        assert count <= 1
    return text


def write(project: Path, block: Block) -> None:
    """Write a block to the file that the document names; merge one of params.yaml."""
    text = substituted(block.text, project)
    if block.path:
        checksums = {
            path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in (project / "files").iterdir()
        }
        assert not (project / block.path).exists()
        (project / block.path).write_text(with_checksums(text, checksums))
    elif text.startswith("optional:"):
        params = yaml.safe_load((project / "params.yaml").read_text())
        params["optional"] |= yaml.safe_load(text)["optional"]
        (project / "params.yaml").write_text(yaml.safe_dump(params))
    else:  # a part of a file of the project
        first, *lines = text.splitlines()
        path = first.removeprefix("# ").removesuffix(", shortened")
        assert set(lines) <= set((project / path).read_text().splitlines())


def substituted(text: str, project: Path) -> str:
    for example, own in OWN.items():
        text = text.replace(example, str(project / own) if example.startswith("/") else own)
    return text.replace("PYTHONPATH=", f"PYTHONPATH={project / 'src'}:")


def runnable(command: str, project: Path) -> str:
    """Return a command of the document for the copy: small, and without an installation."""
    command = substituted(command, project)
    keys = set(re.findall(r"([\w.]+)=", command))
    small = [setting for setting in SMALL if setting.partition("=")[0] not in keys]
    if "dataset" in keys:
        small.remove("levels=17")
    if "experiment" in command and "seed" not in keys:
        small.append("seed=0")
    if command.startswith("make experiment"):
        command += f' OVERRIDES="{" ".join(small)}"'
    elif re.search(r"pipelines/(train|evaluate)\.py|vae-likelihoods experiment", command):
        command += " " + " ".join(f"'{setting}'" for setting in small)
    return re.sub(r"^make ", "make -o .venv/.ready ", command)


def run(command: str, project: Path) -> None:
    """Run a command in the copy, with the code of the copy."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    variables |= {"PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=project,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"


@pytest.mark.parametrize(("document", "title"), SECTIONS)
def test_what_a_section_says_can_be_done(project: Path, document: str, title: str) -> None:
    blocks = DOCUMENTS[document][title]
    adds = any(block.path for block in blocks)
    for block in blocks:
        if block.language:
            write(project, block)
        else:
            # Tests of the project as it is are run beside this one.
            commands = [command for command in block.commands if adds or "-m pytest" not in command]
            for command in commands:
                run(runnable(command, project), project)
