"""What training minimises, one file a family.

Knows a model and a batch of levels, nothing of optimisers or files.
"""
