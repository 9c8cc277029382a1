"""The report: from the metrics of every cell to one table, one answer and one page that opens from disk.

Knows nothing but files of results: it imports no metric and no model. It writes no time, host or path.
"""
