"""Whether the results of a commit are reproduced, and whether its reports agree with each other.

Knows reports and git, nothing of cells or models.
"""
