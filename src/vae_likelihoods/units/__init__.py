"""Units, and declarations: how a number is named, explained, shown and compared.

Knows nothing of who measures a number, and nothing of where it is shown.
"""
