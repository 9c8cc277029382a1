"""A fair race of likelihoods: the same chances for each, judged on validation images, and what it chose.

Knows sweeps, cells and the store; nothing below knows it.
"""
