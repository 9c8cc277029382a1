"""The tuned race against an exhaustive grid, on `mnist5k` at 256 levels: how close, at which cost?

python benchmarks/race.py --root /tmp/race       # about an hour on 2 cores; goes on where it was stopped

The grid has 6 likelihoods x 3 latent sizes x 3 learning rates x 2 lengths of training, 108 cells of one seed.
The race has 9 trials of each likelihood over latent size, learning rate, warm-up and what its YAML offers.
Each names its winner by the validation images. Both winners are then trained with three fresh seeds, and
these are scored on the test images. Processor seconds are those of all processes of each side, start-up
included; an interrupted part counts what it took until then, too.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vae_likelihoods.files import PROJECT, read_csv, write_json
from vae_likelihoods.report.paired import of_images

LIKELIHOODS = "beta_binomial,binomial,continuous_bernoulli,gaussian,gaussian_learned,logistic_mixture"
SETTINGS = ["dataset=mnist5k", "levels=256", "network.hidden=[128,128]", "training.batch_size=64"]
SETTINGS += ["training.matmul=highest", "training.grid_epochs=60", "tracking=none", "runtime.device=cpu"]
SEEDS = (1, 2, 3)


def main() -> None:
    """Run both sides and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder of all results")
    root = parser.parse_args().root.absolute()
    prepared = root / "data" / "prepared" / "mnist5k"
    if not prepared.exists():
        shutil.copytree(PROJECT / "data" / "prepared" / "mnist5k", prepared)
    race = timed(root, "race", race_command(root))
    grid = timed(root, "grid", grid_command(root))
    best = yaml.safe_load((root / "tune" / "race.yaml").read_text())["choices"][0]
    del best["validation_bits_per_dim"]
    winners = {"race": [f"{key}={value}" for key, value in best.items()], "grid": best_of_grid(root)}
    scores = {side: fresh(root, side, words) for side, words in winners.items()}
    for side, seconds in (("race", race), ("grid", grid)):
        mean, error = summary(scores[side])
        print(f"{side}: {seconds:,.0f} processor seconds; {' '.join(winners[side])}")
        print(f"  {mean:.4f} +- {error:.4f} bits/dim over seeds {SEEDS}")
    difference, error = summary(scores["race"] - scores["grid"])
    print(f"race - grid: {difference:+.4f} +- {error:.4f} bits/dim; {race / grid:.2f} of the seconds")


def race_command(root: Path) -> list[str]:
    """Write the study of the race; return the command that tunes it."""
    study = {
        "dataset": "mnist5k",
        "levels": 256,
        "likelihood": LIKELIHOODS,
        "latent_dim": "2,8,32",
        "seed": ",".join(map(str, SEEDS)),
        "options": " ".join([*SETTINGS[2:], "training.epochs=60"]),
        "tune": {"trials": 9},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"studies": {"race": study}}))
    return ["tune", "--study", "race", "--params", str(root / "params.yaml"), "--root", str(root)]


def grid_command(root: Path) -> list[str]:
    """Return the command that trains the grid, in a store of its own."""
    axes = [f"likelihood={LIKELIHOODS}", "latent_dim=2,8,32", "optimizer.lr=1e-3,2e-3,5e-3"]
    axes += ["training.epochs=20,60", "seed=0", "study=grid", f"runtime.store='{root}/.grid'"]
    return ["train", "-m", *SETTINGS, *axes, f"runtime.root='{root}'"]


def timed(root: Path, side: str, command: Sequence[str]) -> float:
    """Run a command unless it was; return the processor seconds that it took, in all attempts."""
    path = root / f"{side}_seconds.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "done": False}
    if not known["done"]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = pipeline(*command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        known["seconds"] += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        known["done"] = code == 0
        write_json(path, known)
        if code:
            sys.exit(f"{side} ended with {code}; the same command goes on")
    return float(known["seconds"])


def pipeline(stage: str, *words: str) -> int:
    """Run a stage; return its exit code."""
    return subprocess.run([sys.executable, str(PROJECT / "pipelines" / f"{stage}.py"), *words]).returncode


def best_of_grid(root: Path) -> list[str]:
    """Return the settings of the grid's cell with the best validation score."""
    cells: dict[str, float] = {}
    for path in (root / "runs" / "grid").glob("*/history.csv"):
        cells[path.parent.name] = min(float(row["val_bits_per_dim"]) for row in read_csv(path))
    config = yaml.safe_load(
        (root / "runs" / "grid" / min(cells, key=cells.__getitem__) / "config.yaml").read_text()
    )
    return [
        f"likelihood={config['names']['likelihood']}",
        f"latent_dim={config['latent_dim']}",
        f"optimizer.lr={config['optimizer']['lr']}",
        f"training.epochs={config['training']['epochs']}",
    ]


def fresh(root: Path, side: str, words: Sequence[str]) -> np.ndarray:
    """Train and score a winner with the fresh seeds; return bits/dim of every test image, [S, N]."""
    epochs = [] if any(word.startswith("training.epochs=") for word in words) else ["training.epochs=60"]
    axes = [*words, *epochs, f"seed={','.join(map(str, SEEDS))}", f"study={side}_fresh", "metric=[bound]"]
    for stage in ("train", "evaluate"):
        if pipeline(stage, "-m", *SETTINGS, *axes, f"runtime.root='{root}'"):
            sys.exit(f"{stage} of {side} failed")
    paths = sorted((root / "evaluations" / f"{side}_fresh").glob("*/per_image.csv"))
    nats = [[float(row["nll_nats"]) for row in read_csv(path)] for path in paths]
    scores: np.ndarray = np.asarray(nats) / (784 * np.log(2))
    return scores


def summary(scores: np.ndarray) -> tuple[float, float]:
    """Return the mean of scores [S, N] and its standard error over seeds and images."""
    of_images_, of_seeds = of_images(scores.mean(0)).variance, scores.mean(1).var(ddof=1) / len(scores)
    return float(scores.mean()), float(np.sqrt(of_images_ + of_seeds))


if __name__ == "__main__":
    main()
