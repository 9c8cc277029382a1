"""How much of a race fits into some minutes: the network, the steps, the trials, the draws of the scores."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vae_likelihoods.cells.build import build_model, build_objective, build_optimizer
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.models.blocks import log_mass
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.search.race import epochs_of, rungs

NETWORKS = (["network=auto"], ["network=mlp"], ["network=mlp", "network.hidden=[128,128]"])
"""From the most able to the cheapest: the first that gets enough steps is taken."""

WANTED, LEAST, MOST = 2_000, 500, 20_000  # steps of a trial that is trained to the end
TRIALS = (9, 4)  # of each likelihood
DRAWS = (128, 64, 32, 16)  # of z for each image in the scores
SEEDS, MOST_SEEDS = 3, 5  # fresh ones: planned, and at most if time is left
FEWEST_EPOCHS = 3
SCORING = 0.15  # of the time, at most
SPARE = 0.85  # of the time is planned: workers wait for each other, and machines have other work
STARTS = 45.0  # seconds for the starts of processes and the report
REPORT = 20.0  # of these, for the report
_BATCH = 64
_LARGE, _LARGE_BATCH = 20_000, 128  # train images
_CHECKED = 1 / 3  # of a step: the cost of a validation batch, which has no backward pass


@dataclass(frozen=True)
class Speed:
    """What was measured for one likelihood with one network, in seconds of one worker.

    Args:
        step: of a batch.
        draw: of one draw of z for one image, when it is scored.
    """

    step: float
    draw: float


@dataclass(frozen=True)
class Counts:
    """What a plan depends on beside speed."""

    train: int
    validation: int
    test: int

    @property
    def batch(self) -> int:
        """Images in a batch."""
        return _LARGE_BATCH if self.train >= _LARGE else min(_BATCH, max(1, self.train // 4))

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return math.ceil(self.train / self.batch)


@dataclass(frozen=True)
class Plan:
    """What is trained within the time.

    Args:
        network: its settings.
        trials: of each likelihood.
        epochs: of a trial that is trained to the end.
        batch: images in a batch.
        warmup_steps: of the learning rate.
        draws: of z for each image in the scores.
    """

    network: Sequence[str]
    trials: int
    epochs: int
    batch: int
    warmup_steps: int
    draws: int

    @property
    def options(self) -> list[str]:
        """The settings of every cell."""
        return [
            *self.network,
            f"training.batch_size={self.batch}",
            f"training.epochs={self.epochs}",
            f"training.warmup_steps={self.warmup_steps}",
            f"training.grid_epochs={self.epochs}",
            "metric=[bound,latents,reconstruction,baselines]",
            f"metric.bound.samples={self.draws}",
        ]


def measured(cell: Cell) -> Speed:
    """Measure a cell: a few steps, and a few draws; random images of its shape do."""
    settings, shape = cell.settings, cell.data.shape
    device = settings.runtime.torch_device
    prepare_cpu(settings.runtime.threads)
    torch.set_float32_matmul_precision(settings.training.matmul)
    model = build_model(settings, shape).to(device)
    assert isinstance(model, VAE)
    objective, optimizer = build_objective(settings), build_optimizer(settings, model)
    noise = torch.Generator(device).manual_seed(0)
    levels = torch.randint(
        settings.levels,
        (settings.training.batch_size, *shape),
        dtype=torch.uint8,
        device=device,
        generator=noise,
    )

    assert optimizer is not None

    def step() -> None:
        loss = objective(model, levels, noise, 1).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def draw() -> None:
        with torch.no_grad():
            z = torch.randn((_DRAWN, len(levels), model.latent_dim), device=device, dtype=model.dtype)
            log_mass(model, z, levels).sum().item()

    return Speed(_seconds(step, device), _seconds(draw, device) / (_DRAWN * len(levels)))


_DRAWN, _REPEATED = 4, 3


def _seconds(work: object, device: torch.device) -> float:
    """Return the least seconds of a few calls, after one that warms up."""
    assert callable(work)
    times = []
    for _ in range(_REPEATED + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def plan(
    network: Sequence[str],
    speeds: Sequence[Speed],
    counts: Counts,
    seconds: float,
    workers: int,
    last: bool = False,
) -> tuple[Plan | None, float]:
    """Return what fits into some seconds, None if nothing does; and the minutes that the least takes.

    Args:
        network: its settings.
        speeds: of each likelihood with it.
        counts: images of each split.
        seconds: that are left.
        workers: how many cells are trained at the same time.
        last: whether no network is cheaper: fewer steps than wanted will do then.
    """
    least, one = LEAST if last else WANTED, _seconds_of_a_draw(speeds, counts)
    affordable = [draws for draws in DRAWS[:-1] if draws * one <= SCORING * seconds * workers]
    best: Plan | None = None
    for trials in TRIALS:
        for draws in (*affordable, DRAWS[-1]):
            room = (seconds - STARTS) * workers * SPARE - draws * one
            steps = int(room / _cost_of_a_step(speeds, counts, trials))
            epochs = min(steps, max(MOST, FEWEST_EPOCHS * counts.steps)) // counts.steps
            trained = epochs * counts.steps
            if epochs >= FEWEST_EPOCHS and trained >= least:
                best = Plan(list(network), trials, epochs, counts.batch, min(100, trained // 20), draws)
                break
        if best is not None and best.epochs * counts.steps >= WANTED:
            break
    return best, _least_minutes(speeds, counts, workers)


def _cost_of_a_step(speeds: Sequence[Speed], counts: Counts, trials: int) -> float:
    """Return the worker's seconds that one more step of the horizon costs in all."""
    validated = _CHECKED * math.ceil(counts.validation / counts.batch) / counts.steps
    horizon = 1000
    share = epochs_of(trials, rungs(trials, horizon)) / horizon
    each = [speed.step * (1 + validated) for speed in speeds]
    return sum(each) * (share + SEEDS) + SEEDS * max(each)  # a latent size that ties with the leader


def _seconds_of_a_draw(speeds: Sequence[Speed], counts: Counts) -> float:
    """Return the worker's seconds that one more draw of z for each image costs in all scores."""
    return SEEDS * counts.test * (sum(s.draw for s in speeds) + max(s.draw for s in speeds))


def _least_minutes(speeds: Sequence[Speed], counts: Counts, workers: int) -> float:
    epochs = max(FEWEST_EPOCHS, math.ceil(LEAST / counts.steps))
    work = (epochs * counts.steps + 1) * _cost_of_a_step(speeds, counts, TRIALS[-1])
    scoring = DRAWS[-1] * _seconds_of_a_draw(speeds, counts)
    return ((work + scoring) / (SPARE * workers) + STARTS) / 60
