"""The report: from the metrics of every cell to one table, one answer and one page that opens from disk.

Knows files of results alone: no metric, no model, no clock, no host and no path reaches its output.
"""
