"""A fair race of likelihoods: the same chances for each, judged on validation images, and what it chose.

Knows sweeps, cells and the report; nothing of how a cell is trained.
"""
