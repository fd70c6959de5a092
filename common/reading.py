"""Bounded reading of answers whose length the peer decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class TooLong(ValueError):
    """An answer exceeds its limit."""


async def whole(read: Callable[[], Awaitable[bytes]], most: int) -> bytes:
    """All that ``read`` returns until it returns nothing. Raises TooLong beyond ``most`` bytes."""
    data = bytearray()
    while piece := await read():
        data += piece
        if len(data) > most:
            raise TooLong(f"the answer is larger than {most} bytes")
    return bytes(data)


async def beginning(read: Callable[[int], Awaitable[bytes]], most: int) -> bytes:
    """At most the first ``most`` bytes. ``read`` takes a limit and may return less, nothing at the end."""
    data = bytearray()
    while len(data) < most and (piece := await read(most - len(data))):
        data += piece
    return bytes(data)
