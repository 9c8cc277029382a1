"""What a stage computes for one cell: build the parts, run, write.

Knows one cell and one folder, nothing of grids or MLflow.
"""
