"""Log sinks that write JSON lines to standard output, or to a file that may be rotated.

A line of a durable process has ``offset`` and ``output``, the name of its stream: together they identify it.
A restart of the agent may repeat it on standard output. A file gets it once: its own end says what it has.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from io import FileIO
from itertools import chain
from pathlib import Path

from common.failpoints import failpoint
from executor.logs.api import LineBatch, LogLine
from executor.logs.labels import PerLabel
from executor.logs.shipper import BACKLOG_PART, CAPACITY_BYTES, Unreachable
from executor.logs.writing import CannotWrite, SinkThread, write_whole

logger = logging.getLogger(__name__)

_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

RECOVER_LIMIT_S = 5.0
"""How long the cell's start waits for the end of a file."""

END_BYTES = CAPACITY_BYTES // BACKLOG_PART + (1 << 20)
"""Bytes of a file's end that are read at the start: the largest batch, and its last item."""

_IDENTITY = re.compile(rb'^\{"time_ns":\d+,"offset":(\d+),"output":"([^"\\]+)"', re.MULTILINE)

_ESCAPES = {bytes((code,)): _text(chr(code))[1:-1].encode() for code in range(0x20) if chr(code) != "\n"}
_NO_CONTROLS = bytes(code for code in range(256) if bytes((code,)) not in _ESCAPES)


class JsonLines:
    """Encodes lines as JSON objects, one per line; invalid UTF-8 becomes replacement characters."""

    def __init__(self) -> None:
        self._labels = PerLabel(_form)

    def __call__(self, batch: LineBatch) -> Iterable[tuple[bytes, int]]:
        form, messages = self._labels(batch.first), _escaped(batch.payloads)
        fields = (batch.times, batch.offsets, messages) if batch.offsets else (batch.times, messages)
        # One call for all lines takes a third of the time of one call per line.
        objects = form * len(batch) % tuple(chain.from_iterable(zip(*fields, strict=True)))
        return ((objects, len(batch)),)


def _escaped(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """The content of each payload's JSON string. Several payloads contain no line feeds; a single one may."""
    if len(payloads) == 1:
        return (_text(payloads[0].decode(errors="replace"))[1:-1].encode(),)
    joined = b"\n".join(payloads)
    # In most output there is nothing to escape, and to search for it is much faster than JSON's encoder.
    escaped = joined if joined.isascii() else joined.decode(errors="replace").encode()
    escaped = escaped.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    for code in set(joined.translate(None, _NO_CONTROLS)):
        control = bytes((code,))
        escaped = escaped.replace(control, _ESCAPES[control])
    return payloads if escaped is joined else escaped.split(b"\n")


def _form(line: LogLine) -> bytes:
    """The form of a line's JSON object, with places for the time, the offset if any, and the message."""
    identity = {} if line.delivery is None else {"output": line.delivery.name}
    labels = identity | {
        "source_id": line.source_id,
        "instance_id": line.instance_id,
        "source_type": line.source_type,
        "stream": line.stream.value,
    }
    begin = '{"time_ns":%d' + ("" if line.delivery is None else ',"offset":%d')
    before = f',{_text(labels)[1:-1]},"message":"'.replace("%", "%%")
    after = f'","tags":{_text(dict(line.tags))}}}\n'.replace("%", "%%")
    return f"{begin}{before}%b{after}".encode()


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

    async def recover(self) -> Mapping[str, int]:
        """How far each stream has come in the file, by its name. An incomplete last line is removed."""
        written: dict[str, int] = {}
        try:
            async with asyncio.timeout(RECOVER_LIMIT_S):
                await self._thread.run(lambda: written.update(recover_end(self._path)))
        except (OSError, TimeoutError) as error:
            data = {"file": str(self._path), "error": str(error) or "it takes too long"}
            logger.warning("log-file.end-unreadable", extra={"data": data})
        return written

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
            failpoint("output.written")
        except CannotWrite:
            file.truncate(size)  # the disk is full: the whole batch will be retried
            raise

    def _opened(self) -> FileIO:
        if self._file is not None and not _is(self._file, self._path):
            self._close()
        if self._file is None:
            self._file = FileIO(self._path, "ab")
        return self._file


def recover_end(path: Path) -> dict[str, int]:
    """How far each stream has come, by its name. Removes an incomplete line from the end of the file.

    A kill leaves at most one batch that is written and not known as taken. Blocks. Raises OSError.
    """
    if not path.is_file():
        return {}
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END_BYTES))
        end = file.read()
        complete = end[: end.rfind(b"\n") + 1]
        if complete and len(complete) < len(end):
            file.truncate(size - len(end) + len(complete))
    return {name.decode(): int(offset) for offset, name in _IDENTITY.findall(complete)}


def _is(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
