"""External text made acceptable for every encoder, and whole numbers in it."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of each unpaired surrogate, as in Go.

    JSON escapes can contain unpaired surrogates, and header bytes that are not UTF-8 become such surrogates.
    UTF-8, and therefore protobuf, cannot encode them.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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
