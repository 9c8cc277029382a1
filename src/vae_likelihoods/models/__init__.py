"""Models of images: prior, posterior, decoder and likelihood.

Knows how a score is made of them, nothing of losses or optimisers.
"""
