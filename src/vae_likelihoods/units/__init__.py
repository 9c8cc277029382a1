"""Units, and declarations: how a number is named, explained, shown and compared.

Knows measures, scales and conversions between them, nothing of who measures a number or where it is shown.
"""
