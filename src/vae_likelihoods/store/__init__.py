"""Results that are computed once, and the code that their keys cover.

Knows files, locks and source code, nothing of what a result means.
"""
