"""The first member of a tar that arrives in chunks, written to a file without keeping either in memory."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

_BLOCK = tarfile.BLOCKSIZE
_TYPE_OFFSET = 156
_EXTENSIONS = b"xgLK"
_MAX_EXTENSION_BYTES = 1 << 20


class NoMember(Exception):
    """The tar ends before its first member, or is none."""


class NoFile(Exception):
    """The file to copy to cannot be made."""


class TruncatedMember(OSError):
    """The tar ends inside its first member."""


class _Reader:
    """Exact reads from chunks."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def some(self, limit: int) -> bytes:
        """At most ``limit`` bytes, none at the end."""
        while not self._rest:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    async def exactly(self, size: int) -> bytes:
        """``size`` bytes, less at the end."""
        parts = []
        while size and (part := await self.some(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


async def copy_first_member(chunks: AsyncIterator[bytes], path: Path) -> None:
    """Write the first member's content to ``path``; a directory's is empty.

    Raises NoMember, NoFile, and OSError (TruncatedMember included) when the copy fails.
    """
    reader = _Reader(chunks)
    left = await _first_size(reader)
    try:
        file = await asyncio.to_thread(path.open, "xb")
    except OSError as error:
        raise NoFile(str(error)) from error
    with file:
        while left:
            data = await reader.some(left)
            if not data:
                raise TruncatedMember(f"tar stream ended {left} bytes too early")
            await asyncio.to_thread(file.write, data)
            left -= len(data)


async def _first_size(reader: _Reader) -> int:
    """Read headers up to and including the first member's own; long names and pax records come before it."""
    headers = b""
    while True:
        block = await reader.exactly(_BLOCK)
        headers += block
        if len(block) < _BLOCK:
            raise NoMember("tar stream is empty")
        if block[_TYPE_OFFSET] not in _EXTENSIONS:
            break
        try:
            size = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
        except tarfile.HeaderError as error:
            raise NoMember(str(error)) from error
        if size > _MAX_EXTENSION_BYTES:
            raise NoMember(f"tar header extension of {size} bytes")
        headers += await reader.exactly(-(-size // _BLOCK) * _BLOCK)
    try:
        with tarfile.open(fileobj=BytesIO(headers), mode="r:") as archive:
            member = archive.next()
    except tarfile.TarError as error:
        raise NoMember(str(error)) from error
    if member is None:
        raise NoMember("tar stream is empty")
    return member.size if member.isreg() else 0
