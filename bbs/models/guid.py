"""Guids of processes, instances and tasks: the rule for valid guids.

Guids are used in names of files, directories and containers of the host, so a text from a peer must be
converted to a :class:`Guid` first.
"""

from __future__ import annotations

import re
from pathlib import Path

MAX_LENGTH = 255
"""Maximum characters that a BBS stores, and maximum bytes of a file name on the host."""

_PATTERN = re.compile(r"[a-zA-Z0-9_-]+")


class InvalidGuid(ValueError):
    """A text that is not a valid guid."""

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
        """The path of this name directly below ``parent``; it cannot leave ``parent``."""
        return Path(parent, self)


def has_guid_characters(text: str) -> bool:
    """Whether a text is nonempty and has only guid characters; its length is not limited."""
    return _PATTERN.fullmatch(text) is not None


def is_guid(text: str) -> bool:
    """Whether a text is a valid guid."""
    try:
        Guid(text)
    except InvalidGuid:
        return False
    return True
