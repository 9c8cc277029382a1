"""A cell: its checked settings, its parts, its key and its places.

Knows what a configuration names, how it is built and what its files are called; nothing of grids, stages or
MLflow.
"""
