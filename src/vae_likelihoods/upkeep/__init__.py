"""Looking after the store: what lies in it, what of it is used, why a result is not taken from it.

Knows studies and the store, and computes no result.
"""
