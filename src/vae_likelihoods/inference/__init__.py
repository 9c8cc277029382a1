"""Bounds on log p(x), and better posteriors for a trained model.

Knows models, nothing of data sets, stores or reports.
"""
