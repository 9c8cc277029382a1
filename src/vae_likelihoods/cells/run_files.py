"""The names of the files of a cell: in runs/, in evaluations/, and beside them in the store."""

from __future__ import annotations

CONFIG = "config.yaml"  # written when a training is laid out, so it is no result of the recipe
MODEL = "model.json"  # written with it: shape, hashes of the others, how pictures became images
HISTORY = "history.csv"
COLUMNS = "columns.json"
WEIGHTS = "model.safetensors"
SAMPLES = "samples.png"
RECONSTRUCTIONS = "reconstructions.png"
TRAINING_RESULTS = (HISTORY, COLUMNS, WEIGHTS, SAMPLES, RECONSTRUCTIONS)
GRIDS = "grids"
"""The folder of the same pictures over epochs, which are results too."""

CHECKPOINT = "checkpoint.pt"
TIMINGS = "timings.csv"
"""Both lie in the store alone, and are no results."""

METRICS = "metrics.json"
PER_IMAGE = "per_image.csv"
LATENTS = "latents.png"
EVALUATION_RESULTS = (METRICS, PER_IMAGE, SAMPLES, RECONSTRUCTIONS, LATENTS)
