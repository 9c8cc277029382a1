"""Whether the results of a commit are reproduced, and follow from each other.

Knows reports and git, nothing of cells or models.
"""
