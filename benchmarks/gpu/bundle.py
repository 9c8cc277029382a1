"""Make .gpu/ in the project's folder: what run.sh needs on a machine without a network.

python benchmarks/gpu/bundle.py

That machine has Python 3.12, torch and numpy. The bundle has wheels of the other packages that training and
evaluation need (wheels.py), two prepared data sets, and the scripts.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from wheels import PROJECT, needed

PYTHON = "3.12"
PLATFORMS = ("any", "manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 29)))
DATASETS = ("digits", "mnist5k")
BUNDLE = PROJECT / ".gpu"


def main() -> None:
    """Make the bundle anew; print its size."""
    prepare_data()
    shutil.rmtree(BUNDLE, ignore_errors=True)
    (BUNDLE / "wheels").mkdir(parents=True)
    for name in needed():
        add_wheel(f"{name}=={metadata.version(name)}")
    for dataset in DATASETS:
        shutil.copytree(PROJECT / "data/prepared" / dataset, BUNDLE / "data/prepared" / dataset)
    for name in ("run.sh", "probe.py", "commands.py"):
        shutil.copy(Path(__file__).with_name(name), BUNDLE)
    size = sum(path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file())
    print(f"{BUNDLE}: {size / 2**20:.0f} MiB")


def prepare_data() -> None:
    """Download and prepare the data sets that are not prepared yet."""
    for dataset in DATASETS:
        if not (PROJECT / "data/prepared" / dataset).is_dir():
            for stage in ("download", "prepare"):
                run(str(PROJECT / "pipelines" / f"{stage}.py"), f"dataset={dataset}")


def add_wheel(requirement: str) -> None:
    """Download a package's wheel for that machine, or build it where only its source is published."""
    target = [f"--python-version={PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    target += [f"--platform={platform}" for platform in PLATFORMS]
    try:
        pip("download", *target, requirement)
    except subprocess.CalledProcessError:
        pip("wheel", requirement)
    print(requirement, flush=True)


def pip(command: str, *options: str) -> None:
    """Run pip, which writes to the bundle's wheels."""
    folder = str(BUNDLE / "wheels")
    where = "--dest" if command == "download" else "--wheel-dir"
    run("-m", "pip", "--quiet", "--disable-pip-version-check", command, "--no-deps", where, folder, *options)


def run(*arguments: str) -> None:
    """Run Python with these arguments, in silence."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    main()
