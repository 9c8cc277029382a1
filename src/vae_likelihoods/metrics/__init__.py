"""What is measured on a trained model, one file a metric.

Knows models and data at K levels, nothing of stores, keys or reports.
"""
