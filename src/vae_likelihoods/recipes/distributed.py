"""Train one cell with several processes at once: each computes the gradient of its share of a batch.

Torch's DistributedDataParallel averages the gradients. The images of a batch, its noise and the order of
batches are those of one process, so the curves of the losses are the same but for rounding. This process is
rank 0: it alone writes. The others follow, and end when it does, however it ends.

    python -m vae_likelihoods.recipes.distributed      # a follower; rank 0 starts it and tells it what to do
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from vae_likelihoods.models.vae import VAE, Noise, Rows
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.recipes.training import make_trainer, train
from vae_likelihoods.training.checkpoints import Checkpoint
from vae_likelihoods.training.trainer import EpochRecord, NonFiniteLossError, Trainer

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell


class LostProcessError(RuntimeError):
    """A process of the group ended before its work."""


class Loss(nn.Module):
    """An objective with its model, as the one module that DistributedDataParallel wraps."""

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, levels: Tensor, noise: Noise, epoch: int) -> Tensor:
        """Return `Terms.means`, [3]."""
        return self.objective(self.model, levels, noise, epoch).means()


class DataParallelTrainer(Trainer):
    """A trainer that is one of several, each made from the same settings; arguments as of `Trainer`."""

    def __init__(self, model: VAE, objective: Objective, *arguments: Any) -> None:
        super().__init__(model, objective, *arguments)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.loss = DistributedDataParallel(Loss(model, objective))

    @override
    def _step(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        means = super()._step(levels, noise)
        dist.all_reduce(means)
        mean: Tensor = means / self.size
        return mean

    @override
    def _means(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Return the means of this process's share, weighted so that their mean over processes is right."""
        batch = len(levels)
        rows = share(batch, self.rank, self.size)
        weight = (rows.stop - rows.start) * self.size / batch
        if not weight:  # fewer images than processes: take part, and count for nothing
            rows = slice(0, 1)
        with self._autocast():
            means: Tensor = self.loss(levels[rows], Rows(noise, rows, batch), self.epoch)
        return means.mul(weight)

    @override
    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Let rank 0 do it and tell the others, who decide the same from it."""
        found = torch.zeros(2, dtype=torch.float64, device=self.device)
        if self.rank == 0:
            found.copy_(torch.tensor(super()._validate(), dtype=torch.float64))
        dist.broadcast(found, src=0)
        distortion, rate = found.tolist()
        return distortion, rate


def share(count: int, rank: int, size: int) -> slice:
    """Return which of `count` images the process `rank` of `size` computes.

    Example:
        >>> [share(5, rank, 2) for rank in range(2)]
        [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(count * rank // size, count * (rank + 1) // size)


def train_together(
    cell: Cell, folder: Path, tell: Callable[[EpochRecord], None], gpus: Sequence[int] = ()
) -> list[str]:
    """Train a cell with `runtime.processes` processes; otherwise as `recipes.training.train`.

    Args:
        cell: the checked configuration.
        folder: where to write.
        tell: called with each epoch's record.
        gpus: which GPU each process uses; empty on a CPU.

    Raises:
        NonFiniteLossError: naming epoch and step.
        LostProcessError: if another process of the group died; the same command goes on from the checkpoint.
    """
    size = cell.settings.runtime.processes
    with (
        TemporaryDirectory() as temporary,
        followers(cell, folder, meeting := Path(temporary) / "meeting", size, gpus) as others,
    ):
        try:
            with group(cell, meeting, 0, size):
                return train(cell, folder, tell, partial(make_trainer, kind=DataParallelTrainer))
        except RuntimeError as error:
            # What torch raises when the other end is gone; give the others a moment to be seen dead.
            codes = {rank: ended(process) for rank, process in enumerate(others, 1)}
            lost = [f"{rank} (exit code {code})" for rank, code in codes.items() if code]
            if lost:
                raise LostProcessError(f"of {size} processes, these ended: {', '.join(lost)}") from error
            raise


def ended(process: subprocess.Popen[str]) -> int | None:
    """Return the exit code of a process that ends soon, or None."""
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def followers(
    cell: Cell, folder: Path, meeting: Path, size: int, gpus: Sequence[int]
) -> Iterator[Sequence[subprocess.Popen[str]]]:
    """Start the processes of ranks 1 .. size - 1; what is left of them at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    try:
        for rank in range(1, size):
            told = {
                "settings": cell.settings.model_dump(mode="json"),
                "folder": str(folder),
                "meeting": str(meeting),
                "rank": rank,
                "gpu": gpus[rank] if gpus else None,
            }
            process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, text=True)
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()  # and left open: see `follow`
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@contextmanager
def group(cell: Cell, meeting: Path, rank: int, size: int) -> Iterator[None]:
    """Join the processes that meet in the file `meeting`."""
    backend = "nccl" if cell.settings.runtime.torch_device.type == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{meeting}", rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def follow(told: dict[str, Any]) -> None:
    """Train along with rank 0, and write nothing."""
    from vae_likelihoods.cells.cell import Cell
    from vae_likelihoods.cells.settings import Settings

    cell = Cell(Settings.model_validate(told["settings"]))
    if told["gpu"] is not None:
        torch.cuda.set_device(told["gpu"])
    with group(cell, Path(told["meeting"]), told["rank"], cell.settings.runtime.processes):
        trainer = make_trainer(cell, DataParallelTrainer)
        Checkpoint(Path(told["folder"]) / "checkpoint.pt", 0).restore(trainer)
        with suppress(NonFiniteLossError):  # rank 0 meets it too, and tells
            for _ in trainer.epochs():
                pass


def main() -> None:
    """Do what rank 0 says in the first line; end when it closes the pipe, as its death does."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    follow(told)


if __name__ == "__main__":
    main()
