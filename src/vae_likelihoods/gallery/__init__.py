"""The gallery of wrong losses: each classic error beside the right form, with what it costs.

Knows how to train a model on arrays, nothing of cells or stores.
"""
