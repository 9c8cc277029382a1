"""Fitting one model to the levels of a train split: schedule, trainer, checkpoints.

Knows models and objectives, nothing of cells; opens no results file.
"""
