"""Result files: first entry of a tar, at most 50 KiB, read as a stream."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Callable

import pytest

from rep.results import RESULT_LIMIT, ResultError, ResultTooLarge, first_file

pytestmark = pytest.mark.unit

TarOf = Callable[[str, bytes], bytes]


async def pieces(data: bytes, size: int = 700) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, RESULT_LIMIT])
async def test_content_up_to_the_limit(tar_of: TarOf, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    assert await first_file(pieces(tar_of("result", content))) == content


async def test_one_byte_more_is_too_large(tar_of: TarOf) -> None:
    with pytest.raises(ResultTooLarge, match=r"^result file is too large \(over 51200 bytes\)$"):
        await first_file(pieces(tar_of("result", bytes(RESULT_LIMIT + 1))))


async def test_a_large_file_is_not_read(tar_of: TarOf) -> None:
    head = tar_of("result", bytes(RESULT_LIMIT + 1))[:1024]

    async def stream() -> AsyncIterator[bytes]:
        yield head
        raise AssertionError("read on after the size was known")

    with pytest.raises(ResultTooLarge):
        await first_file(stream())


async def test_a_long_name_is_read_with_its_entry(tar_of: TarOf) -> None:
    assert await first_file(pieces(tar_of("r" * 300, b"content"))) == b"content"


async def test_a_directory_is_empty() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("result")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        inner = tarfile.TarInfo("result/file")
        inner.size = 3
        archive.addfile(inner, io.BytesIO(b"abc"))
    assert await first_file(pieces(buffer.getvalue())) == b""


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"x" * 512, bytes(1024)])
async def test_what_is_no_tar_is_an_error(data: bytes) -> None:
    with pytest.raises(ResultError):
        await first_file(pieces(data))


async def test_a_tar_cut_short_is_an_error(tar_of: TarOf) -> None:
    with pytest.raises(ResultError, match="too early"):
        await first_file(pieces(tar_of("result", bytes(5000))[:2000]))
