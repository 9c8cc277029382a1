"""Grids of cells: checked, run, watched and laid out.

Knows stages, cells and how MLflow is kept up to date, nothing of reports.
"""
