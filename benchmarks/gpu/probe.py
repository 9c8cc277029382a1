"""A first run on a GPU through the commands of pipelines/: one question, one line.

bash .gpu/run.sh                              # on the machine with the GPU, 7 minutes at most
bash .gpu/run.sh --device cpu --small         # a rehearsal without a GPU

OUT/gpu.json gets the answers as they come.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from commands import Commands, Utilisation


class Size(NamedTuple):
    """How large the run is."""

    dataset: str
    levels: int
    hidden: str
    epochs: int  # of a speed measurement
    long_epochs: int  # of the cell that is killed
    batches: tuple[int, ...]
    at_once: tuple[int, ...]


FULL = Size("mnist5k", 256, "[256,256]", 8, 60, (128, 512, 2048), (1, 4, 8))
SMALL = Size("digits", 17, "[16]", 2, 200, (128,), (2,))


class Probe:
    """The questions; each yields lines of answers."""

    def __init__(self, commands: Commands, device: str, size: Size) -> None:
        self.commands, self.device, self.size = commands, device, size
        self.cell = [f"dataset={size.dataset}", f"levels={size.levels}", "latent_dim=8"]

    def machine(self) -> Iterator[str]:
        """Versions, GPU, processors."""
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA"
        yield f"Python {sys.version.split()[0]}, torch {torch.__version__}, {gpu}, {os.cpu_count()} CPUs"

    def likelihoods(self) -> Iterator[str]:
        """Whether every likelihood trains here, and ends near its score on the CPU."""
        names = sorted(path.stem for path in Path("conf/likelihood").glob("*.yaml"))
        grid = [*self.cell, f"likelihood={','.join(name for name in names if name != 'bernoulli')}"]
        scores = []
        for study, device in (("here", self.device), ("cpu", "cpu")):
            options = [f"study={study}", f"runtime.device={device}", "training.epochs=2"]
            result = self.commands.run("train", "-m", *grid, *options)
            yield f"on {device}: {result.failure or f'all trained in {result.seconds:.0f} s'}"
            scores.append(self.commands.scores(study))
        here, cpu = scores
        far = [name for name in here if abs(here[name] - cpu.get(name, 0)) > 0.05 * cpu.get(name, 0)]
        yield f"further than 5 % from the CPU: {', '.join(far) or f'none of {len(here)}'}"

    def evaluation(self) -> Iterator[str]:
        """Whether the default metrics are measured."""
        options = ["study=here", "likelihood=beta_binomial", "training.epochs=2"]
        result = self.commands.run("evaluate", *self.cell, *options, f"runtime.device={self.device}")
        yield result.failure or f"done in {result.seconds:.0f} s"

    def fresh_pixels(self) -> Iterator[str]:
        """Whether the importance-weighted objective trains on pixels that are drawn each epoch."""
        options = ["study=fresh", "likelihood=bernoulli", "objective=iwae", "binarize=stochastic"]
        cell = [*self.cell, "levels=2", *options, "training.epochs=2", f"runtime.device={self.device}"]
        result = self.commands.run("train", *cell)
        yield result.failure or f"bits/dim {self.commands.scores('fresh')}"

    def resume(self) -> Iterator[str]:
        """Whether a killed cell continues from its checkpoint to the same bytes."""
        options = ["study=killed", "likelihood=beta_binomial", "seed=7", "runtime.checkpoint_seconds=0"]
        cell = [*self.cell, *options, f"training.epochs={self.size.long_epochs}"]
        cell.append(f"runtime.device={self.device}")
        result = self.commands.run("train", *cell)
        if result.failure:
            yield result.failure
            return
        whole = self.commands.weights("killed")
        for folder in (".cells", "runs/killed"):
            shutil.rmtree(self.commands.root / folder)
        yield self.kill(cell)
        result = self.commands.run("train", *cell)
        yield result.failure or ("same" if self.commands.weights("killed") == whole else "OTHER") + " bytes"

    def kill(self, cell: list[str]) -> str:
        """Start the cell, kill it after some epochs, and return when that was."""
        process = self.commands.start("train", *cell)
        while process.poll() is None and len(self.commands.timings()) < 8 and self.commands.left > 0:
            time.sleep(0.05)
        alive = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if alive else None
        process.communicate()
        epochs = len(self.commands.timings()) + 1
        return f"killed after {epochs} epochs" if alive else f"NOT killed: it ended after {epochs} epochs"

    def speed(self) -> Iterator[str]:
        """Images a second and the use of the GPU, for some batch sizes and likelihoods."""
        for batch in self.size.batches:
            for name in ("binomial", "beta_binomial", "logistic_mixture"):
                options = [f"study=speed{batch}", f"likelihood={name}", "seed=3"]
                options += [f"training.batch_size={batch}", f"training.epochs={self.size.epochs}"]
                began = time.time()
                with Utilisation() as utilisation:
                    result = self.commands.run("train", *self.cell, *options, f"runtime.device={self.device}")
                speed = "" if result.failure else f"{self.commands.images_per_second(began):.0f} images/s"
                yield f"{name}, batch {batch}: {result.failure or f'{speed}, {utilisation}'}"

    def together(self) -> Iterator[str]:
        """What it gains to train several of 8 cells at once."""
        for count in self.size.at_once:
            seeds = ",".join(str(100 * count + seed) for seed in range(8))
            options = [f"study=together{count}", "likelihood=beta_binomial", f"seed={seeds}"]
            options += [f"training.epochs={self.size.epochs}", f"runtime.device={self.device}"]
            places = [f"runtime.cells_per_gpu={count}", f"runtime.cells_at_once={count}"]
            with Utilisation() as utilisation:
                result = self.commands.run("train", "-m", *self.cell, *options, *places)
            yield f"{count} at once: {result.failure or f'{result.seconds:.1f} s, {utilisation}'}"


def main() -> None:
    """Ask the questions in turn while time is left."""
    options = arguments()
    root = Path(".gpu/root").absolute()
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(".gpu/data", root / "data")
    size = SMALL if options.small else FULL
    settings = [f"network.hidden={size.hidden}", "optimizer.lr=2e-3", "training.matmul=highest"]
    commands = Commands(root, options.out, [*settings, "tracking=none"], options.seconds)
    probe = Probe(commands, options.device, size)
    questions: list[Callable[[], Iterator[str]]] = [probe.machine, probe.likelihoods, probe.evaluation]
    questions += [probe.fresh_pixels, probe.resume, probe.speed, probe.together]
    answers: dict[str, list[str]] = {}
    for question in questions:
        lines = answers[question.__name__] = []
        for line in question() if commands.left > 10 else ["left out, no time"]:
            lines.append(line)
            print(f"[{options.seconds - commands.left:4.0f} s] {question.__name__}: {line}", flush=True)
            (options.out / "gpu.json").write_text(json.dumps(answers, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder of the answers")
    parser.add_argument("--seconds", type=float, default=420, help="limit for the whole run")
    parser.add_argument("--small", action="store_true", help="small images, networks and grids")
    return parser.parse_args()


if __name__ == "__main__":
    main()
