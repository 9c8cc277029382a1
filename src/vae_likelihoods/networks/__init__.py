"""Encoders and decoders: they know shapes, nothing of distributions."""
