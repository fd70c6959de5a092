"""Text that came from outside, as text that every encoder takes."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text with U+FFFD in the place of each half of a surrogate pair, as Go writes it.

    JSON can spell such a half, and the bytes of a header that are not UTF-8 become such halves; UTF-8, and so
    protobuf, has none.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
