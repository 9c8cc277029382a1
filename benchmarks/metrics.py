"""The cost of each metric on trained cells: processor seconds on one thread.

python benchmarks/metrics.py grey/beta_binomial-8-0 binary/bernoulli-8-0
python benchmarks/metrics.py --metrics probe samples --root elsewhere grey/gaussian-8-0

A metric is measured twice and the second time counts, because the first one also computes what cells
share, such as the classifier of `samples`. Processor time does not grow when others use the machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from tabulate import tabulate

from vae_likelihoods.cells.build import build
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.files import PROJECT
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.base import Model
from vae_likelihoods.recipes.keeping import keep_in
from vae_likelihoods.recipes.measuring import Trained
from vae_likelihoods.seeding import generator

CONFIGS = {path.stem: path for path in sorted((PROJECT / "conf" / "metric").glob("*.yaml"))}


@torch.no_grad()
def main() -> None:
    """Print a row for every cell, a column for every metric."""
    options = arguments()
    rows = []
    for name in options.cells:
        cell = Cell.laid_out(options.root / "runs" / name, options.root)
        trained = Trained(cell)
        data = trained.data
        if options.store is not None:
            keep = keep_in(options.store, data.prepared)
            data = Data(data.prepared, data.levels, data.binarize, data.device, keep)
        costs = [cost(metric, cell, trained.model, data) for metric in options.metrics]
        rows.append([name, *costs, sum(costs)])
    print(tabulate(rows, ["cell", *options.metrics, "sum"], tablefmt="pipe", floatfmt=".2f"))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cells", nargs="+", metavar="STUDY/CELL", help="folders of runs/")
    parser.add_argument("--metrics", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--root", type=Path, default=PROJECT, help="folder of data/ and runs/")
    parser.add_argument("--store", type=Path, default=None, help="the store of what cells share")
    return parser.parse_args()


def cost(name: str, cell: Cell, model: Model, data: Data) -> float:
    """Return the processor seconds of the second of two measurements."""
    metric = build(f"metric.{name}", read(CONFIGS[name])[name])
    for _ in range(2):
        began = time.process_time()
        metric(model, data, generator(cell.settings.seed, "metric", name, device=data.device))
        seconds = time.process_time() - began
    return seconds


def read(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main()
