"""A table of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cell.assembly.terminal import one_line


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
