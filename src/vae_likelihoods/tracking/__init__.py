"""MLflow as a view of the files.

The only package that knows MLflow; it computes nothing, and nothing that computes knows it.
"""
