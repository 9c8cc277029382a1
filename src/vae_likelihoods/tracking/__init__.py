"""MLflow shows what the files say: the only package that knows MLflow.

`contents` reads from files what MLflow shows of a cell; `connection` and `experiment` speak with MLflow;
`mirror` brings the runs of cells up to date and `grids` those of whole grids, `watching` both while a sweep
runs; `view` says how a study looks.
"""
