"""Hydra plugin: sweeps over cells."""
