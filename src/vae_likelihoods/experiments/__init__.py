"""Published protocols: the findings of the paper, those of this project, and what differs between them.

Knows how to run and read a grid of cells, nothing of studies or reports.
"""
