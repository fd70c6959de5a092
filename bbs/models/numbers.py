"""Numbers in texts from outside."""

from __future__ import annotations


def whole_number(text: str, most: int) -> int | None:
    """The number that ASCII digits spell; None for other texts, and for numbers above ``most``.

    Of any length: Python's own ``int`` refuses texts of more than 4,300 digits with a ValueError.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)):
        return None
    number = int(digits)
    return number if number <= most else None
