"""The upkeep of the store: what is in it, what is used, why a result is not taken from it.

Knows studies and the store, and computes no result.
"""
