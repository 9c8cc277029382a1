"""Models of images: the VAE, and models that give p(x) directly.

Knows how a score is computed, nothing of losses or optimisers.
"""
