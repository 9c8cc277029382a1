"""Settings of training for tests that train: whole, plain, in float32 to the last bit."""

from __future__ import annotations

from typing import Any

from vae_likelihoods.training.schedule import TrainingSettings


def training(**changes: Any) -> TrainingSettings:
    """Return settings that differ from plain ones in `changes`; grids are no business of a Trainer."""
    plain = {
        "epochs": 4,
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
