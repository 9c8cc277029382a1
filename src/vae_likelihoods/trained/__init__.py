"""A folder of results as a model to use: encode, sample, score.

Knows cells' settings and their parts, and the report's answer for the best of a study; nothing of the store
and of tracking.
"""
