"""Parsing of whole numbers in external text."""

from __future__ import annotations


def whole_number(text: str, most: int) -> int | None:
    """The number in a text of ASCII digits; None for other texts and for numbers above ``most``.

    The text may have any length: ``int`` raises ValueError for more than 4,300 digits.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)):
        return None
    number = int(digits)
    return number if number <= most else None
