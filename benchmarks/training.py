"""Images per second of training on Fashion-MNIST, by this project and by the loop of tutorials.

python benchmarks/training.py --rounds 5 --epochs 5 --json training.json
python benchmarks/training.py --rounds 2 --epochs 1 --images 12000      # a quick look

Both sides train the same network with the same loss and optimiser on batches of 128, on one thread each.
README.md describes the measurement.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

import project
import tutorial
from timing import Result, in_own_process, machine, spread, timed
from tutorial import Task
from vae_likelihoods.cells.settings import cores
from vae_likelihoods.datasets.manifest import SPLITS, manifest_sha256
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT, sha256, write_json
from vae_likelihoods.units.quantity import bits_per_dim

DATASET = "fashion_mnist"
LATENT_DIM, BATCH_SIZE = 8, 128


class Side(NamedTuple):
    """One way to train: on one thread, or on all cores."""

    ours: bool
    all_cores: bool = False  # we train one cell on each core, the tutorial one model on all cores
    workers: int = 0  # of the tutorial's DataLoader
    settings: tuple[str, ...] = ()  # of ours


BFLOAT16 = ("training.precision=bfloat16",)
SIDES = {
    "this project": Side(ours=True),
    "this project, bfloat16": Side(ours=True, settings=BFLOAT16),
    "tutorial": Side(ours=False),
    "tutorial, 2 workers": Side(ours=False, workers=2),
    "all cores: this project": Side(ours=True, all_cores=True),
    "all cores: bfloat16": Side(ours=True, all_cores=True, settings=BFLOAT16),
    "all cores: tutorial": Side(ours=False, all_cores=True),
}
PAIRS = [
    *((mine, peer) for peer in ("tutorial", "tutorial, 2 workers") for mine in list(SIDES)[:2]),
    *((mine, "all cores: tutorial") for mine in ("all cores: this project", "all cores: bfloat16")),
]


def main() -> None:
    """Let the sides train in turn, several rounds; print a table."""
    options = arguments()
    rounds: dict[str, list[Result]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        prepared, images = lay_out(Path(folder), options.images)
        for index in range(options.rounds):
            task = Task(
                prepared, images, tuple(options.hidden), LATENT_DIM, BATCH_SIZE, options.epochs, seed=index
            )
            # Every other round is backwards, so that a drift of the machine favours no side.
            for name in list(rounds)[:: -1 if index % 2 else 1]:
                rounds[name].append(train(SIDES[name], task, options.ours))
                speed = rounds[name][-1]["images_per_second"]
                print(f"round {index + 1}: {name} {speed:.0f} images/s", flush=True)
    report = {"settings": vars(options), "machine": machine(), "rounds": rounds, "ratios": ratios(rounds)}
    print(table(report))
    if options.json:
        write_json(Path(options.json), report)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each side trains")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of one training")
    parser.add_argument("--images", type=int, help="training images; validation shrinks with them (all)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 512], help="widths of the network")
    parser.add_argument(
        "--ours", nargs="*", default=[], metavar="KEY=VALUE", help="settings of our side alone"
    )
    parser.add_argument("--json", help="write everything that was measured to this file")
    options = parser.parse_args()
    if (
        min(options.rounds, options.epochs, *options.hidden, 1 if options.images is None else options.images)
        < 1
    ):
        parser.error("counts must be at least 1")
    return options


def lay_out(root: Path, images: int | None) -> tuple[Path, int]:
    """Copy the prepared data set, or the same share of each split; return its folder and image count."""
    whole = PreparedDataset(PROJECT / "data" / "prepared" / DATASET)
    target = root / DATASET
    target.mkdir()
    share = min(1.0, (images or whole.count("train")) / whole.count("train"))
    manifest: dict[str, Any] = {**whole.manifest, "splits": {}}
    for split in SPLITS:
        count = max(1, round(share * whole.count(split)))
        manifest["splits"][split] = {"count": count}
        for what, values in whole.split(split)._asdict().items():
            path = target / f"{split}_{what}.npy"
            np.save(path, values[:count].numpy())
            manifest["splits"][split][f"{what}_sha256"] = sha256(path)
    write_json(target / "manifest.json", {**manifest, "sha256": manifest_sha256(manifest)})
    return target, manifest["splits"]["train"]["count"]


def train(side: Side, task: Task, overrides: list[str]) -> Result:
    """Let one side train; return its speed, cost and score."""
    if side.ours:
        copies = cores() if side.all_cores else 1
        return in_own_process(project.train, task, [*overrides, *side.settings], copies=copies)
    return in_own_process(train_peer, task, side.workers, threads=cores() if side.all_cores else 1)


def train_peer(task: Task, workers: int) -> Result:
    """Train as tutorials do; return speed, cost and the score on our scale."""
    losses: list[float] = []
    result = timed(task.images * task.epochs, lambda: losses.append(tutorial.train(task, workers)))
    levels = np.load(task.prepared / "validation_images.npy")
    nats = losses[0] - log_choose(levels)
    return {**result, "bits_per_dim": bits_per_dim(nats, levels[0].size)}


def log_choose(levels: NDArray[np.uint8]) -> float:
    """Return the mean over images of sum_d log C(255, k_d), which the cross-entropy leaves out."""
    n, k = tutorial.TRIALS, np.arange(tutorial.TRIALS + 1)
    per_level = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return float(per_level[levels].sum() / len(levels))


def ratios(rounds: dict[str, list[Result]]) -> dict[str, list[float]]:
    """Return for each pair and round how many times faster we are, in images per second."""

    def speeds(name: str) -> list[float]:
        return [result["images_per_second"] for result in rounds[name]]

    return {
        f"{mine} / {peer}": [a / b for a, b in zip(speeds(mine), speeds(peer), strict=True)]
        for mine, peer in PAIRS
    }


def table(report: dict[str, Any]) -> str:
    """Return medians and (smallest .. largest) as text."""
    lines = [f"\n{'':26}{'images/s':>26}{'CPU us/image':>22}{'val bits/dim':>14}"]
    for name, results in report["rounds"].items():
        speeds = spread([result["images_per_second"] for result in results], ".0f")
        costs = spread([result["cpu_microseconds_per_image"] for result in results], ".0f")
        score = statistics.median(result["bits_per_dim"] for result in results)
        lines.append(f"{name:26}{speeds:>26}{costs:>22}{score:>14.3f}")
    lines += ["", *(f"{pair:56}{spread(values):>24}" for pair, values in report["ratios"].items())]
    database = statistics.median(result["database_seconds"] for result in report["rounds"]["this project"])
    where = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    return "\n".join([*lines, f"not counted: {database:.1f} s to make a new MLflow database, once", where])


if __name__ == "__main__":
    try:
        main()
    except SettingError as error:  # with the commands that prepare the data set
        sys.exit(str(error))
