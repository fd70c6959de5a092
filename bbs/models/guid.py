"""Guids of processes, instances and tasks: the one rule for what may be one.

Guids name files, directories and containers of the host, so a text that comes from a peer becomes a
:class:`Guid` before anything is made of it.
"""

from __future__ import annotations

import re
from pathlib import Path

MAX_LENGTH = 255
"""Characters a BBS stores (bbs-wire 5.1), and bytes a file name of the host may have."""

_PATTERN = re.compile(r"[a-zA-Z0-9_-]+")


class InvalidGuid(ValueError):
    """A text that cannot be a guid."""

    def __init__(self, text: str) -> None:
        shown = repr(text if len(text) <= 40 else f"{text[:40]}...")
        super().__init__(f"{shown} is not a guid: expected 1 to {MAX_LENGTH} of a-z A-Z 0-9 _ -")


class Guid(str):
    """A text of 1 to 255 letters, digits, underscores and hyphens. Raises :class:`InvalidGuid` for others."""

    __slots__ = ()

    def __new__(cls, text: str) -> Guid:
        if not has_guid_characters(text) or len(text) > MAX_LENGTH:
            raise InvalidGuid(text)
        return super().__new__(cls, text)

    def below(self, parent: str | Path) -> Path:
        """The path of this name directly below ``parent``, which it cannot leave."""
        return Path(parent, self)


def has_guid_characters(text: str) -> bool:
    """Whether a text consists of the characters of a guid, at least one; its length is not limited."""
    return _PATTERN.fullmatch(text) is not None


def is_guid(text: str) -> bool:
    """Whether a text can be a guid."""
    try:
        Guid(text)
    except InvalidGuid:
        return False
    return True
