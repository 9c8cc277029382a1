"""Where images come from, which of them is in which split, and how they become K levels.

Knows files and arrays, nothing of models or cells.
"""
