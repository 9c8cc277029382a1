"""A plugin of Hydra: sweeps over cells.

Knows Hydra's launchers and grids of cells, nothing of what a stage computes, of reports or MLflow.
"""
