"""Bounded reading of answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from common.reading import TooLong, beginning, whole

pytestmark = pytest.mark.unit


def reader(*pieces: bytes) -> Callable[..., Awaitable[bytes]]:
    """Returns a piece, or as much of it as asked for, at each call; nothing after the last one."""
    left = list(pieces)

    async def read(most: int | None = None) -> bytes:
        if not left:
            return b""
        piece = left.pop(0)
        if most is not None and piece[most:]:
            left.insert(0, piece[most:])
        return piece[:most]

    return read


@pytest.mark.parametrize("pieces", [(), (b"abcdef",), (b"a", b"bc", b"def")])
async def test_an_answer_within_its_limit_is_read_as_a_whole(pieces: tuple[bytes, ...]) -> None:
    assert await whole(reader(*pieces), 6) == b"".join(pieces)


async def test_an_answer_beyond_its_limit_is_not_read_to_its_end() -> None:
    read = reader(b"abc", b"defg", b"rest")
    with pytest.raises(TooLong, match="larger than 6 bytes"):
        await whole(read, 6)
    assert await read() == b"rest"


@pytest.mark.parametrize(("most", "read"), [(2, b"ab"), (4, b"abcd"), (9, b"abcdef")])
async def test_the_beginning_of_an_answer_in_pieces(most: int, read: bytes) -> None:
    assert await beginning(reader(b"a", b"bcd", b"ef"), most) == read
