"""Text for terminals: texts of apps and tenants without control characters, and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

REPLACEMENT: Final = "\ufffd"
PLAIN: Final = "\x1b[0m"

_COLOUR: Final = r"\x1b\[[0-9;:]{0,64}m"
_COLOURS: Final = re.compile(_COLOUR)
_COMMANDS: Final = "\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters except tab, line separators, direction overrides, surrogates."""
_OBEYED: Final = re.compile(f"[{_COMMANDS}]")
_OBEYED_BUT_COLOURS: Final = re.compile(f"({_COLOUR})|[{_COMMANDS}]")


def visible(text: str, *, colours: bool = False) -> str:
    """One line of text without control characters: each becomes U+FFFD.

    colours: keep the SGR codes for colours and weight; they are reset at the end of the line.
    """
    text = text.rstrip("\r")
    if not colours:
        return _OBEYED.sub(REPLACEMENT, text)
    shown = _OBEYED_BUT_COLOURS.sub(lambda found: found[1] or REPLACEMENT, text)
    is_open = _COLOURS.search(shown) is not None and not shown.endswith((PLAIN, "\x1b[m"))
    return shown + PLAIN if is_open else shown


def visible_lines(text: str) -> str:
    """Several lines, with their colours."""
    return "\n".join(visible(line, colours=True) for line in text.split("\n"))


def one_line(text: str) -> str:
    """A message of an engine, an app or a tenant as one line without colours."""
    return visible(" ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Table:
    """Columns as wide as their widest cell; the last one is not padded."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        cells = [list(self.headers)] + [[one_line(cell) or "-" for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells
        )
        return "\n".join(line.rstrip() for line in lines)
