"""The upkeep of the store: which results it has, which are used, and why a result is not found in it.

This package knows the studies and the store. It computes no result.
"""
