"""JSON lines to standard output, or to a file that may be rotated away."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import IO

from executor.logs.api import LogLine
from executor.logs.labels import PerLabel
from executor.logs.outlet import Unreachable

_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class JsonLines:
    """Encodes lines as JSON objects, one per line; what is no UTF-8 is shown as replacement characters."""

    def __init__(self) -> None:
        self._labels = PerLabel(_affixes)

    def __call__(self, lines: Sequence[LogLine]) -> bytes:
        parts: list[str] = []
        for line in lines:
            before, after = self._labels(line)
            message = _text(line[0].decode(errors="replace"))
            parts.append(f'{{"time_ns":{line[5]}{before}{message}{after}')
        return "".join(parts).encode()


def _affixes(line: LogLine) -> tuple[str, str]:
    """What stands around the message."""
    labels = {
        "source_id": line.source_id,
        "instance_id": line.instance_id,
        "source_type": line.source_type,
        "stream": line.stream.value,
    }
    return f',{_text(labels)[1:-1]},"message":', f',"tags":{_text(dict(line.tags))}}}\n'


class OpenFile:
    """A destination of lines: a binary file that somebody else opens and closes, such as standard output."""

    def __init__(self, file: IO[bytes], encode: Callable[[Sequence[LogLine]], bytes] | None = None) -> None:
        self._file = file
        self._encode = encode or JsonLines()

    async def send(self, items: Sequence[LogLine]) -> int:
        """In a thread, for a pipe nobody reads blocks."""
        try:
            await asyncio.to_thread(self._write, items)
        except (OSError, ValueError) as error:  # ValueError: it was closed
            raise Unreachable(error) from error
        return 0

    async def close(self) -> None:
        """It is not ours."""

    def _write(self, lines: Sequence[LogLine]) -> None:
        self._file.write(self._encode(lines))
        self._file.flush()


class AppendedFile:
    """A destination of lines: a file by its name, appended to. One that was moved away is made anew."""

    def __init__(self, path: Path, encode: Callable[[Sequence[LogLine]], bytes] | None = None) -> None:
        self._path = path
        self._encode = encode or JsonLines()
        self._file: FileIO | None = None

    async def send(self, items: Sequence[LogLine]) -> int:
        try:
            await asyncio.to_thread(self._write, items)
        except OSError as error:
            raise Unreachable(error) from error
        return 0

    async def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, lines: Sequence[LogLine]) -> None:
        data = memoryview(self._encode(lines))
        file = self._opened()
        size = file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(size)  # the disk is full: all of the batch comes again
            raise

    def _opened(self) -> FileIO:
        if self._file is not None and not _is(self._file, self._path):
            self._file.close()
            self._file = None
        if self._file is None:
            self._file = FileIO(self._path, "ab")
        return self._file


def _is(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
