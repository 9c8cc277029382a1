"""Names of files, as people may see them: a name can be anything but / and a zero byte."""

from __future__ import annotations


def shown(name: object) -> str:
    r"""Return a name, or a text with one, as one line that a terminal does not obey and any file can hold.

    Example:
        >>> shown("a\nb\x1b[31m\udcff.png")
        'a\\nb\\x1b[31m\\xff.png'
    """
    return "".join(each if each.isprintable() else _escape(each) for each in str(name))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python reads a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
