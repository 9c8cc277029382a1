"""Standard laws, one file each: the distributions that families of likelihoods are built from.

Know a variable u on the line, nothing of levels, outputs or scales.
"""
