"""The gallery of wrong losses: each common error beside the right form, and what the error costs.

Knows how to train a model on arrays, nothing of cells or stores.
"""
