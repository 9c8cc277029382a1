"""What is measured on a trained model, one file for each metric. A metric declares its numbers once.

Knows models and data at K levels, nothing of stores, keys or reports.
"""
