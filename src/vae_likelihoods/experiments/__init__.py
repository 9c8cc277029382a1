"""Published protocols: what the paper found, what this project finds, and what differs between them.

Knows how to run and read a grid of cells, nothing of studies or reports.
"""
