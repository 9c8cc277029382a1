"""The names of metrics in MLflow, which people search and compare by: column or number -> metric."""

from __future__ import annotations

EPOCH_METRICS = {
    "val_bits_per_dim": "val/bpd",
    "val_elbo": "val/elbo",
    "val_distortion": "val/distortion",
    "val_rate": "val/rate",
    "train_loss": "train/loss",
    "train_elbo": "train/elbo",
    "train_distortion": "train/distortion",
    "train_rate": "train/rate",
}
TEST_METRICS = {
    "bits_per_dim": "test/bpd",
    "bits_per_dim_se": "test/bpd_se",
    "nll_nats": "test/nll",
    "elbo_nats": "test/elbo",
    "rate_nats": "test/rate",
    "distortion_nats": "test/distortion",
    "active_units": "test/active",
    "squared_error": "test/sq_error",
    "effective_sample_size": "test/ess",
    "uniform_bits_per_dim": "test/uniform_bpd",
    "independent_pixels_bits_per_dim": "test/pixels_bpd",
}
"""All others are called ``test/<name>``."""
