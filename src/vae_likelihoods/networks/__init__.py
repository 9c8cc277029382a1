"""Encoders and decoders.

Know shapes, nothing of distributions.
"""
