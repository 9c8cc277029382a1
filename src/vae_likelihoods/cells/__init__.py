"""A cell: its checked settings, its parts, its key and its places.

Knows nothing of grids, stages or MLflow.
"""
