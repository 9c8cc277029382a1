"""Models of images: prior, posterior, decoder and likelihood.

Knows how a score is computed from them, nothing of losses or optimisers.
"""
