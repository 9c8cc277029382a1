"""Train one cell with several processes: each computes the gradient of its share of every batch.

Torch's DistributedDataParallel averages the gradients. The images of a batch, its noise and the order of
batches are those of one process, so the losses are the same up to rounding. This process is rank 0 and the
only one that writes. The other processes end when it ends, even if it is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessContext, ProcessException, start_processes
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from typing_extensions import override

from vae_likelihoods.cells.run_files import CHECKPOINT
from vae_likelihoods.models.base import Model
from vae_likelihoods.models.vae import Noise, Rows
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.recipes.training import make_trainer, train
from vae_likelihoods.training.checkpoints import Checkpoint
from vae_likelihoods.training.trainer import EpochRecord, NonFiniteLossError, Trainer

if TYPE_CHECKING:
    from vae_likelihoods.cells.cell import Cell


LONGEST_STEP = timedelta(minutes=3)
"""How long rank 0 waits for a step of the others before it looks whether they are alive."""


class LostProcessError(RuntimeError):
    """A process of the group ended before the training did."""


class Loss(nn.Module):
    """An objective and its model in one module, which DistributedDataParallel wraps."""

    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, levels: Tensor, noise: Noise, epoch: int) -> Tensor:
        """Return `Terms.means`, [3]."""
        return self.objective(self.model, levels, noise, epoch).means()


class DataParallelTrainer(Trainer):
    """One of several trainers that are built from the same settings; takes the arguments of `Trainer`."""

    def __init__(self, model: Model, objective: Objective, *arguments: Any) -> None:
        super().__init__(model, objective, *arguments)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.loss = DistributedDataParallel(Loss(model, objective))

    @override
    def _step(self, optimizer: Optimizer, levels: Tensor, noise: torch.Generator) -> Tensor:
        means = super()._step(optimizer, levels, noise)
        dist.all_reduce(means)
        mean: Tensor = means / self.size
        return mean

    @override
    def _means(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Return the means of this process's share, weighted so that their mean over processes is right."""
        batch = len(levels)
        rows = share(batch, self.rank, self.size)
        weight = (rows.stop - rows.start) * self.size / batch
        if not weight:  # fewer images than processes: this one computes an image that counts for nothing
            rows = slice(0, 1)
        with self._autocast():
            means: Tensor = self.loss(levels[rows], Rows(noise, rows, batch), self.epoch)
        return means.mul(weight)

    @override
    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Validate in rank 0 and send the numbers to the others, so that all stop at the same epoch."""
        terms = torch.zeros(2, dtype=torch.float64, device=self.device)
        if self.rank == 0:
            terms.copy_(torch.tensor(super()._validate(), dtype=torch.float64))
        dist.broadcast(terms, src=0)
        distortion, rate = terms.tolist()
        return distortion, rate


def share(count: int, rank: int, size: int) -> slice:
    """Return which of `count` images the process `rank` of `size` computes.

    Example:
        >>> [share(5, rank, 2) for rank in range(2)]
        [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(count * rank // size, count * (rank + 1) // size)


def train_together(
    cell: Cell, folder: Path, on_epoch: Callable[[EpochRecord], None], gpus: Sequence[int] = ()
) -> list[str]:
    """Train a cell with `runtime.processes` processes; otherwise as `recipes.training.train`.

    Args:
        cell: the checked configuration.
        folder: where to write.
        on_epoch: called with each epoch's record.
        gpus: the GPU of each process; empty on a CPU.

    Raises:
        NonFiniteLossError: names epoch and step.
        LostProcessError: if another process died; the same command continues from the checkpoint.
    """
    with TemporaryDirectory() as temporary:
        meeting = Path(temporary)
        with followers(cell, folder, meeting, gpus) as others:
            wait_for_start(others, meeting)
            try:
                with group(cell, meeting, rank=0):
                    return train(cell, folder, on_epoch, DataParallelTrainer)
            except RuntimeError:  # torch raises it when another process is gone
                check_alive(others, timeout_s=5)
                raise


def wait_for_start(others: ProcessContext, meeting: Path) -> None:
    """Return once all processes run; torch itself would wait half an hour for one that failed to start."""
    while len(list(meeting.glob("started-*"))) < len(others.processes):
        check_alive(others, timeout_s=0.1)


def check_alive(others: ProcessContext, timeout_s: float) -> None:
    """Raise LostProcessError if one of the processes has failed, or fails within this time."""
    try:
        others.join(timeout_s)
    except ProcessException as error:
        codes = {rank: process.exitcode for rank, process in enumerate(others.processes, 1)}
        lost = ", ".join(f"{rank} (exit code {code})" for rank, code in codes.items() if code)
        raise LostProcessError(f"of {len(codes) + 1} processes, these ended: {lost}") from error


@contextmanager
def followers(cell: Cell, folder: Path, meeting: Path, gpus: Sequence[int]) -> Iterator[ProcessContext]:
    """Start the processes of all ranks but 0; kill those that still run at the end."""
    count = cell.settings.runtime.processes - 1
    # Children inherit the default method, and that of a worker of joblib is one that they do not know.
    multiprocessing.set_start_method("spawn", force=True)
    context = start_processes(follow, (cell, folder, meeting, gpus), count, join=False)
    try:
        yield context
    finally:
        for process, traceback_file in zip(context.processes, context.error_files, strict=True):
            process.kill()
            process.join()
            Path(traceback_file).unlink(missing_ok=True)


def follow(index: int, cell: Cell, folder: Path, meeting: Path, gpus: Sequence[int]) -> None:
    """Train along with rank 0, as rank `index` + 1, and write nothing."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    rank = index + 1
    if gpus:
        torch.cuda.set_device(gpus[rank])
    (meeting / f"started-{rank}").touch()
    with group(cell, meeting, rank):
        trainer = make_trainer(cell, DataParallelTrainer)
        Checkpoint(folder / CHECKPOINT, 0).restore(trainer)
        with suppress(NonFiniteLossError):  # rank 0 meets it too, and raises it
            for _ in trainer.epochs():
                pass


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def group(cell: Cell, meeting: Path, rank: int) -> Iterator[None]:
    """Join the processes that meet in the folder `meeting`."""
    runtime = cell.settings.runtime
    backend = "nccl" if runtime.torch_device.type == "cuda" else "gloo"
    # Rank 0 waits for others for a step at most, they wait for its scores and pictures too. Now and then gloo
    # does not notice that a process is gone.
    patience = LONGEST_STEP if backend == "gloo" and rank == 0 else None
    meeting_point, size = f"file://{meeting}/group", runtime.processes
    dist.init_process_group(backend, meeting_point, patience, rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()
