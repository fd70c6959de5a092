"""Normalisation of external text, so that every encoder accepts it."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of each unpaired surrogate, as in Go.

    JSON escapes can contain unpaired surrogates, and header bytes that are not UTF-8 become such surrogates.
    UTF-8, and therefore protobuf, cannot encode them.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
