"""The cost of tracking: the same sweep with tracking=none and with MLflow.

python benchmarks/tracking.py --rounds 5 --json tracking.json
python benchmarks/tracking.py --rounds 1 --latent-dim 2 --seed 0 --epochs 5      # a quick look

Each side is a whole `pipelines/train.py -m`, from its start to its exit. README.md describes the measurement.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from timing import Result, cpu_seconds, machine, spread
from vae_likelihoods.cells.settings import cores
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT, write_json

NONE, NEW, OLD = "tracking=none", "MLflow, new database", "MLflow, old database"
SIDES = (NONE, NEW, OLD)
# Imports MLflow, opens the database, and prints the processor time.
CONNECT = """
import sys, time, pathlib
import vae_likelihoods.sweeps.sweep
from vae_likelihoods.tracking.experiment import Experiment
began, root = time.process_time(), pathlib.Path(sys.argv[1])
Experiment(f"sqlite:///{root}/mlflow.db", root, "any")
print(time.process_time() - began)
"""
# Runs a script and writes the processor time of its process, the driver, to a file.
DRIVER = """
import pathlib, runpy, sys, time
output, sys.argv = sys.argv[1], sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    pathlib.Path(output).write_text(str(time.process_time()))
"""


def main() -> None:
    """Let the sides run the sweep in turn, several rounds; print a table."""
    options = arguments()
    sweep = sweep_of(options)
    rounds: dict[str, list[Result]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        fixed = {NEW: connecting(Path(folder)), OLD: connecting(Path(folder))}
        database = Path(folder) / "mlflow.db"
        for index in range(options.rounds):
            # Every other round is backwards, so that a drift of the machine favours no side.
            for side in SIDES[:: -1 if index % 2 else 1]:
                rounds[side].append(run(side, sweep, Path(folder) / f"{index} {side}", database))
                print(f"round {index + 1}: {side} {rounds[side][-1]['seconds']:.1f} s", flush=True)
    report = {
        "settings": vars(options),
        "machine": machine(),
        "cells": count(sweep),
        "connecting_cpu_seconds": fixed,
        "rounds": rounds,
        "overheads": overheads(rounds),
    }
    print(table(report))
    if options.json:
        write_json(Path(options.json), report)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs the sweep")
    parser.add_argument("--study", default="binary", help="the study of params.yaml whose cells are trained")
    parser.add_argument("--latent-dim", default="2,8,32", help="latent sizes of the cells")
    parser.add_argument("--seed", default="0,1", help="seeds of the cells")
    parser.add_argument("--epochs", type=int, help="epochs of a cell (the study's)")
    parser.add_argument("--json", help="write everything that was measured to this file")
    options = parser.parse_args()
    if min(options.rounds, 1 if options.epochs is None else options.epochs) < 1:
        parser.error("counts must be at least 1")
    return options


def sweep_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the settings of the sweep: those of the study, with fewer cells.

    Raises:
        SettingError: if there is no such study, or its data are not prepared.
    """
    params: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((PROJECT / "params.yaml").read_text())
    studies = {**params["studies"], **params["optional"]}
    if options.study not in studies:
        raise SettingError("study", options.study, "is not in params.yaml", sorted(studies))
    study = studies[options.study]
    PreparedDataset(PROJECT / "data/prepared" / study["dataset"])
    sweep = {key: str(study[key]) for key in ("dataset", "levels", "likelihood")}
    sweep |= dict(setting.split("=") for setting in study["options"].split())
    sweep |= {"latent_dim": options.latent_dim, "seed": options.seed, "study": options.study}
    if options.epochs is not None:
        sweep["training.epochs"] = str(options.epochs)
    # At least two: a single cell would be trained in the driver, whose own time is measured.
    return sweep | {"runtime.device": "cpu", "runtime.cells_at_once": str(max(2, cores()))}


def count(sweep: Mapping[str, str]) -> int:
    """Return how many cells the sweep has."""
    axes = [sweep[axis].split(",") for axis in ("likelihood", "latent_dim", "seed")]
    return len(axes[0]) * len(axes[1]) * len(axes[2])


def connecting(folder: Path) -> float:
    """Return the processor time of importing MLflow and opening a database, which is made if missing."""
    command = [sys.executable, "-W", "ignore", "-c", CONNECT, str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(output.splitlines()[-1])


def run(side: str, sweep: Mapping[str, str], root: Path, database: Path) -> Result:
    """Run the sweep in a new folder; return seconds, processor time and the driver's part of it."""
    root.mkdir()
    (root / "data").symlink_to(PROJECT / "data")
    if side == OLD:
        shutil.copyfile(database, root / "mlflow.db")
    settings = [f"{key}={value}" for key, value in sweep.items()]
    settings += [f"runtime.root='{root}'", "tracking=none" if side == NONE else "tracking.uri=null"]
    script = str(PROJECT / "pipelines/train.py")
    command = [sys.executable, "-c", DRIVER, str(root / "driver"), script, "-m", *settings]
    cpu, began = cpu_seconds(), time.perf_counter()
    process = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    output = process.stdout + process.stderr
    if process.returncode != 0 or "did not take the results" in output:
        sys.exit(output)
    driver = float((root / "driver").read_text())
    shutil.rmtree(root)
    return {"seconds": seconds, "cpu_seconds": cpu, "driver_cpu_seconds": driver}


def overheads(rounds: Mapping[str, list[Result]]) -> dict[str, dict[str, list[float]]]:
    """Return what MLflow adds to the same round without it, for both sides with MLflow, in percent.

    `driver` is the additional time of the driver, in percent of all processor time. The driver is the only
    process that talks to MLflow.
    """
    shares: dict[str, dict[str, list[float]]] = {}
    for side in (NEW, OLD):
        pairs = list(zip(rounds[side], rounds[NONE], strict=True))
        shares[side] = {
            what: [100 * (mine[part] - bare[part]) / bare[whole] for mine, bare in pairs]
            for what, part, whole in (
                ("clock", "seconds", "seconds"),
                ("processor", "cpu_seconds", "cpu_seconds"),
                ("driver", "driver_cpu_seconds", "cpu_seconds"),
            )
        }
    return shares


def table(report: Mapping[str, Any]) -> str:
    """Return medians and (smallest .. largest) as text."""
    lines = [f"\n{report['cells']} cells", f"{'':24}{'seconds':>24}{'CPU s':>24}{'driver, CPU s':>24}"]
    for side, results in report["rounds"].items():
        columns = [
            spread([result[key] for result in results], ".1f")
            for key in ("seconds", "cpu_seconds", "driver_cpu_seconds")
        ]
        lines.append(f"{side:24}" + "".join(f"{column:>24}" for column in columns))
    lines.append(f"\n{'percent more than without':24}")
    for side, shares in report["overheads"].items():
        columns = [spread(shares[what], ".1f") for what in ("clock", "processor", "driver")]
        lines.append(f"{side:24}" + "".join(f"{column:>24}" for column in columns))
    fixed = [f"{seconds:.1f} s ({side})" for side, seconds in report["connecting_cpu_seconds"].items()]
    lines.append(f"of the driver's time, to import MLflow and to connect: {', '.join(fixed)}")
    where = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return "\n".join([*lines, where])


if __name__ == "__main__":
    try:
        main()
    except SettingError as error:  # with the commands that prepare the data set
        sys.exit(str(error))
