"""Which packages a training and an evaluation need beside torch and numpy.

python benchmarks/gpu/wheels.py

The stages run with all other packages hidden, as in an environment that has only torch and numpy. A package
without which a stage fails is shown from then on, until all stages succeed. A package that is used only if it
is installed is not needed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
CELL = ("dataset=digits", "network.hidden=[16]", "training.epochs=1", "runtime.device=cpu", "tracking=none")
STAGES = (("train", *CELL), ("evaluate", *CELL), ("train", "-m", "seed=1,2", *CELL))


def main() -> None:
    """Print the packages with their versions, as requirements for pip."""
    for name in needed():
        print(f"{name}=={metadata.version(name)}")


def needed() -> list[str]:
    """Return the names of the packages, sorted."""
    visible = present()
    names: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").symlink_to(PROJECT / "data")
        owners = root / "owners.json"
        owners.write_text(json.dumps(owner_of_files()))
        while (missing := first_missing(root, owners, visible | names)) is not None:
            print(f"needs {missing}", file=sys.stderr, flush=True)
            names.add(missing)
    return sorted(names)


def present() -> set[str]:
    """Return torch, numpy and what torch requires, but for packages of which we require a version."""
    requirements = map(Requirement, metadata.requires("vae-likelihoods") or ())
    ours = {canonicalize_name(requirement.name) for requirement in requirements if not requirement.marker}
    names, queue = set[str](), ["torch", "numpy"]
    while queue:
        name = queue.pop()
        if name not in names:
            names.add(name)
            queue += (other for other in required_by(name) if other not in ours)
    return names


def required_by(name: str) -> Iterator[str]:
    """Yield the packages that an installed package requires on this machine."""
    try:
        lines = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def owner_of_files() -> dict[str, str]:
    """Return the package of each file that can be imported."""
    return {
        str(distribution.locate_file(file)): canonicalize_name(distribution.metadata["Name"])
        for distribution in metadata.distributions()
        for file in distribution.files or ()
        if file.suffix in (".py", ".so")
    }


def first_missing(root: Path, owners: Path, names: Iterable[str]) -> str | None:
    """Run the stages with only these packages; return one without which a stage fails, or None.

    Raises:
        RuntimeError: if a stage fails for another reason.
    """
    for stage, *overrides in STAGES:
        log = root / "hidden.log"
        log.write_text("")
        script = str(PROJECT / "pipelines" / f"{stage}.py")
        hide = [sys.executable, str(Path(__file__).with_name("hide.py")), str(owners)]
        process = subprocess.run(
            [*hide, ",".join(sorted(names)), str(log), script, *overrides, f"runtime.root='{root}'"],
            capture_output=True,
            text=True,
            env={**os.environ, "HYDRA_FULL_ERROR": "1"},
            check=False,
        )
        if process.returncode:
            return culprit(process.stdout + process.stderr, log.read_text())
    return None


def culprit(output: str, log: str) -> str:
    """Return the package of the module that `output` misses, or of the one that was hidden last."""
    hidden = dict(line.split() for line in log.splitlines())
    missing = re.findall(r"No module named '([\w.]+)'", output)
    candidates = [hidden[name] for name in missing if name in hidden] or list(hidden.values())
    if not candidates:
        raise RuntimeError(output)
    return candidates[-1]


if __name__ == "__main__":
    main()
