"""Settings of training for tests that train: all fields, plain values, and float32 products."""

from __future__ import annotations

from typing import Any

from vae_likelihoods.training.schedule import TrainingSettings


def training(**changes: Any) -> TrainingSettings:
    """Return plain settings with `changes`; a Trainer makes no grids, so their epochs do not matter."""
    plain = {
        "epochs": 4,
        "images": None,
        "batch_size": 32,
        "evaluation_batch_size": 500,
        "schedule": "cosine",
        "warmup_steps": 0,
        "clip_norm": None,
        "patience": None,
        "keep": "best",
        "precision": "float32",
        "matmul": "highest",
        "grid_epochs": 1000,
    }
    return TrainingSettings(**{**plain, **changes})
