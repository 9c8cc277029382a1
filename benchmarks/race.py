"""The tuned race against an exhaustive grid, on `mnist5k` at 256 levels: how close, at which cost?

python benchmarks/race.py --root /tmp/race       # 45 minutes on 2 cores; goes on where it was stopped

The grid has 6 likelihoods x 3 latent sizes x 3 learning rates x 2 lengths of training, 108 cells of one seed.
The race has 9 trials of each likelihood over latent size, learning rate, warm-up and what its YAML offers.
Each names its winner by validation images: the grid by its one seed. The race freezes a setting of each
likelihood, and the winner is the one whose three fresh seeds are best. The grid's winner gets the same seeds.
Both winners are then scored on the test images. Processor seconds are those of all processes of each side,
start-up included; an interrupted part counts what it took until then, too.
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
_SCORE = "validation_bits_per_dim"


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
    choices = yaml.safe_load((root / "tune" / "race.yaml").read_text())["choices"]
    frozen = [[f"{key}={value}" for key, value in each.items() if key != _SCORE] for each in choices]
    further = timed(root, "race_fresh", *(fresh_command(root, "race_fresh", words) for words in frozen))
    winner = of_grid(root)
    timed(root, "grid_fresh", fresh_command(root, "grid_fresh", winner))
    means = {cell: np.mean(scores) for cell, scores in validation_scores(root, "race_fresh").items()}
    best = min(means, key=means.__getitem__)
    words = next(
        each for each in frozen if f"{each[0].partition('=')[2]}-{each[1].partition('=')[2]}" == best
    )
    scores = {"race": scored(root, "race_fresh", words), "grid": scored(root, "grid_fresh", winner)}
    for side, seconds, chosen in (("race", race, words), ("grid", grid, winner)):
        mean, error = summary(scores[side])
        print(f"{side}: {seconds:,.0f} processor seconds; {' '.join(chosen)}")
        print(f"  {mean:.4f} +- {error:.4f} bits/dim over seeds {SEEDS}")
    difference, error = summary(scores["race"] - scores["grid"])
    print(f"race - grid: {difference:+.4f} +- {error:.4f} bits/dim; {race / grid:.2f} of the seconds")
    print(f"the fresh seeds of all {len(frozen)} frozen settings took {further:,.0f} seconds more")


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


def timed(root: Path, side: str, *commands: Sequence[str]) -> float:
    """Run commands unless they were; return the processor seconds that they took, in all attempts."""
    path = root / f"{side}_seconds.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "done": False}
    if not known["done"]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        codes = [pipeline(*command) for command in commands]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        known["seconds"] += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        known["done"] = not any(codes)
        write_json(path, known)
        if any(codes):
            sys.exit(f"{side} ended with {max(codes)}; the same command goes on")
    return float(known["seconds"])


def pipeline(stage: str, *words: str) -> int:
    """Run a stage; return its exit code."""
    return subprocess.run([sys.executable, str(PROJECT / "pipelines" / f"{stage}.py"), *words]).returncode


def of_grid(root: Path) -> list[str]:
    """Return the settings of the grid's cell with the best validation score."""
    scores = {
        path.parent: min(float(row["val_bits_per_dim"]) for row in read_csv(path))
        for path in (root / "runs" / "grid").glob("*/history.csv")
    }
    config = yaml.safe_load((min(scores, key=scores.__getitem__) / "config.yaml").read_text())
    return [
        f"likelihood={config['names']['likelihood']}",
        f"latent_dim={config['latent_dim']}",
        f"optimizer.lr={config['optimizer']['lr']}",
        f"training.epochs={config['training']['epochs']}",
    ]


def fresh_words(root: Path, study: str, words: Sequence[str]) -> list[str]:
    """Return the sweep of one setting over the fresh seeds."""
    epochs = [] if any(word.startswith("training.epochs=") for word in words) else ["training.epochs=60"]
    axes = [*words, *epochs, f"seed={','.join(map(str, SEEDS))}", f"study={study}", "metric=[bound]"]
    return ["-m", *SETTINGS, *axes, f"runtime.root='{root}'"]


def fresh_command(root: Path, study: str, words: Sequence[str]) -> list[str]:
    """Return the command that trains one setting with the fresh seeds."""
    return ["train", *fresh_words(root, study, words)]


def name_of(words: Sequence[str]) -> str:
    """Return the name of a setting's cells, without the seed: the first two words are its axes."""
    return "-".join(word.partition("=")[2] for word in words[:2])


def validation_scores(root: Path, study: str) -> dict[str, list[float]]:
    """Return the validation scores of every seed, by likelihood and latent size."""
    scores: dict[str, list[float]] = {}
    for path in (root / "runs" / study).glob("*/history.csv"):
        best = min(float(row["val_bits_per_dim"]) for row in read_csv(path))
        scores.setdefault(path.parent.name.rpartition("-")[0], []).append(best)
    return scores


def scored(root: Path, study: str, words: Sequence[str]) -> np.ndarray:
    """Score a setting's fresh seeds; return bits/dim of every test image, [S, N]."""
    if pipeline("evaluate", *fresh_words(root, study, words)):
        sys.exit(f"evaluate of {study} failed")
    paths = [root / "evaluations" / study / f"{name_of(words)}-{seed}" / "per_image.csv" for seed in SEEDS]
    nats = [[float(row["nll_nats"]) for row in read_csv(path)] for path in paths]
    scores: np.ndarray = np.asarray(nats) / (784 * np.log(2))
    return scores


def summary(scores: np.ndarray) -> tuple[float, float]:
    """Return the mean of scores [S, N] and its standard error over seeds and images."""
    of_images_, of_seeds = of_images(scores.mean(0)).variance, scores.mean(1).var(ddof=1) / len(scores)
    return float(scores.mean()), float(np.sqrt(of_images_ + of_seeds))


if __name__ == "__main__":
    main()
