"""p(x given z) over the K levels of a pixel: one contract, one file a family.

Knows outputs and levels, nothing of networks, latents or training.
"""
