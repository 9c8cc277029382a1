"""The report: from the metrics of every cell to one table, one answer and one page that opens from disk.

Knows files of results, nothing of metrics, models or stores. It writes no time, host or path.
"""
