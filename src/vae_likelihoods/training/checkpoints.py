"""Weights as safetensors, and the state of a training run, from which it can be resumed."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vae_likelihoods.files import write_whole

if TYPE_CHECKING:
    from vae_likelihoods.training.trainer import Trainer

DIGEST_SIZE = hashlib.sha256().digest_size


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights; the same weights give the same bytes under any file name."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_whole(path, lambda temporary: save_file(contiguous, temporary))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read what `save_weights` wrote, on the CPU."""
    return load_file(path)


def load_weights(path: Path, model: nn.Module) -> None:
    """Load weights into `model`, which must have the same parameters."""
    model.load_state_dict(read_weights(path))


class Checkpoint:
    """The state of training in one file: a sha256, then the bytes of torch.save. It is replaced in one step.

    Args:
        path: the file.
        every_seconds: the least time between two writes; 0: write after every epoch.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self.written = time.monotonic()

    def restore(self, trainer: Trainer) -> bool:
        """Set `trainer` to the state in the file; return False if the file is missing or damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return False
        digest, state = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
        # torch.load has no checksum: it would accept changed weights.
        if hashlib.sha256(state).digest() != digest:
            self.path.unlink()
            return False
        loaded = torch.load(io.BytesIO(state), map_location=trainer.device, weights_only=True)
        trainer.load_state_dict(loaded)
        return True

    def save(self, trainer: Trainer, now: bool = False) -> None:
        """Write the trainer's state if `every_seconds` have passed since the last write, or `now`."""
        if now or time.monotonic() - self.written >= self.every_seconds:
            buffer = io.BytesIO()
            torch.save(trainer.state_dict(), buffer)
            state = buffer.getvalue()
            content = hashlib.sha256(state).digest() + state
            write_whole(self.path, lambda temporary: temporary.write_bytes(content))
            self.written = time.monotonic()
