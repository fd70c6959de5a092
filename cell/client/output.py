"""Output of results: tables for people, JSON lines for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import IO, TypeVar

from bbs.models.codec import compact, dumps
from cell.assembly.terminal import Table, visible_lines
from cell.cli import Option

T = TypeVar("T")


OPTIONS = (
    Option(["--json"], is_flag=True, help="print one JSON object per line, like cfdot (default when piped)"),
    Option(["--table"], is_flag=True, excludes=["json"], help="print text (default on a terminal)"),
)


class Output:
    """The destination of results. for_people: text instead of JSON. now_ns: reference time of ages."""

    def __init__(
        self, stream: IO[str], *, for_people: bool, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._stream = stream
        self.for_people = for_people
        self.now_ns = now_ns

    @classmethod
    def chosen(cls, stream: IO[str], *, json: bool, table: bool) -> Output:
        return cls(stream, for_people=table or (stream.isatty() and not json))

    def line(self, text: str) -> None:
        """Print one or more lines. On a terminal, control characters of apps have no effect."""
        is_seen = self.for_people or self._stream.isatty()
        print(visible_lines(text) if is_seen else text, file=self._stream, flush=True)

    def confirm(self, text: str) -> None:
        """Print a confirmation for people; programs use the exit status."""
        if self.for_people:
            self.line(text)

    def models(self, models: Sequence[T], table: Callable[[Sequence[T], int], Table]) -> None:
        """table: builds the table for people from the models and the current time in ns."""
        if self.for_people:
            self.line(table(models, self.now_ns()).text())
        else:
            for model in models:
                self.line(dumps(model))

    def values(self, values: Sequence[T], table: Callable[[Sequence[T]], Table]) -> None:
        """Like ``models``, for plain JSON values."""
        if self.for_people:
            self.line(table(values).text())
        else:
            for value in values:
                self.line(compact(value))
