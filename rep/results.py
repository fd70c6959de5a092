"""Result files of tasks: the first entry of a tar stream, at most 51200 bytes."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from typing import Final

from executor.api import ExecutorAPI

RESULT_LIMIT = 51200
"""Bytes a result file may have (50 KiB)."""


class ResultError(Exception):
    """A result file that cannot be used; the text says why."""


class ResultTooLarge(ResultError):
    """More bytes than a result may have."""

    def __init__(self) -> None:
        super().__init__(f"result file is too large (over {RESULT_LIMIT} bytes)")


async def fetch_result(executor: ExecutorAPI, guid: str, path: str) -> str:
    """The content of a file of a container; a directory gives an empty text.

    A protobuf string has to be UTF-8, so other bytes become U+FFFD. Raises ResultError, ExecutorError.
    """
    async with executor.files(guid, path) as chunks:
        return (await first_file(chunks)).decode("utf-8", "replace")


async def first_file(chunks: AsyncIterator[bytes]) -> bytes:
    """Content of the first entry of a tar. Reads no further than that entry. Raises ResultError.

    Long names come as extension entries in front of the real one; they are read with it.
    """
    buffer = bytearray()

    async def need(size: int) -> None:
        while len(buffer) < size:
            chunk = await anext(chunks, None)
            if chunk is None:
                raise ResultError("the tar of the result file ends too early")
            buffer.extend(chunk)

    while True:
        await need(tarfile.BLOCKSIZE)
        try:
            entry = tarfile.TarInfo.frombuf(bytes(buffer[: tarfile.BLOCKSIZE]), "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise ResultError(f"the result file came as no tar: {error}") from error
        del buffer[: tarfile.BLOCKSIZE]
        if entry.isreg() and entry.type not in _EXTENSIONS:
            if entry.size > RESULT_LIMIT:
                raise ResultTooLarge
            await need(entry.size)
            return bytes(buffer[: entry.size])
        if entry.type not in _EXTENSIONS:
            return b""
        blocks = -(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if blocks > RESULT_LIMIT:
            raise ResultError(f"the tar header of the result file has {entry.size} bytes")
        await need(blocks)
        del buffer[:blocks]


_EXTENSIONS: Final = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
