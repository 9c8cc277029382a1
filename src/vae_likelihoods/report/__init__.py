"""The report: from the metrics of every cell to one table, one answer and one page that opens from disk.

`summary` collects, `ranking` decides, `tables` and `charts` show, `page` puts it together. Nothing in
here reads a clock, a host name or a path into its output, so the same metrics give the same bytes.
"""
