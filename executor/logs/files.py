"""Log sinks that write JSON lines to standard output, or to a file that may be rotated."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from io import FileIO
from pathlib import Path

from executor.logs.api import LogLine
from executor.logs.labels import PerLabel
from executor.logs.shipper import Unreachable
from executor.logs.writing import CannotWrite, SinkThread, write_whole

_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_BETWEEN = "\ud800"
"""Separates messages that are escaped together: half a surrogate pair, which decoded text never contains."""


class JsonLines:
    """Encodes lines as JSON objects, one per line; invalid UTF-8 becomes replacement characters."""

    def __init__(self) -> None:
        self._labels = PerLabel(_affixes)

    def __call__(self, lines: Sequence[LogLine]) -> Iterable[tuple[bytes, int]]:
        before, after = self._labels(lines[0])
        messages = _escaped([line[0] for line in lines])
        objects = [
            f'{{"time_ns":{line[5]}{before}{message}{after}'
            for line, message in zip(lines, messages, strict=True)
        ]
        return (("".join(objects).encode(), len(lines)),)


def _escaped(payloads: Sequence[bytes]) -> list[str]:
    """The content of each payload's JSON string. Several payloads contain no line feeds; a single one may."""
    if len(payloads) == 1:
        return [_text(payloads[0].decode(errors="replace"))[1:-1]]
    text = b"\n".join(payloads).decode(errors="replace").replace("\n", _BETWEEN)
    return _text(text)[1:-1].split(_BETWEEN)


def _affixes(line: LogLine) -> tuple[str, str]:
    """The text before and after the message."""
    labels = {
        "source_id": line.source_id,
        "instance_id": line.instance_id,
        "source_type": line.source_type,
        "stream": line.stream.value,
    }
    return f',{_text(labels)[1:-1]},"message":"', f'","tags":{_text(dict(line.tags))}}}\n'


class OpenFile:
    """Destination: an open descriptor, such as standard output. It is duplicated."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._thread = SinkThread("of an open file")

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        try:
            await self._thread.run(lambda: write_whole(self._descriptor, items))
        except CannotWrite as error:
            raise Unreachable(error) from error
        return ()

    async def close(self) -> None:
        """Does not wait for a running write: a pipe without a reader could block it for ever."""
        self._thread.close(lambda: os.close(self._descriptor))


class AppendedFile:
    """Destination: a file by name, opened for appending. A renamed file is created again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._thread = SinkThread(str(path))

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        try:
            await self._thread.run(lambda: self._write(items))
        except (OSError, CannotWrite) as error:
            raise Unreachable(error) from error
        return ()

    async def close(self) -> None:
        """Does not wait for a running write: a disk could block it for ever."""
        self._thread.close(self._close)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, items: Sequence[bytes]) -> None:
        file = self._opened()
        size = file.seek(0, os.SEEK_END)
        try:
            write_whole(file.fileno(), items)
        except CannotWrite:
            file.truncate(size)  # the disk is full: the whole batch will be retried
            raise

    def _opened(self) -> FileIO:
        if self._file is not None and not _is(self._file, self._path):
            self._close()
        if self._file is None:
            self._file = FileIO(self._path, "ab")
        return self._file


def _is(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
