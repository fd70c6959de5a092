"""The basic data types of SSH (RFC 4251, section 5) as bytes, also used by SFTP.

Imports nothing: the transfer programs load it and little else.
"""

from __future__ import annotations


class Malformed(ValueError):
    """A message that ends before its fields do."""


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def uint64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def text(value: str) -> bytes:
    """A string field; bytes that were not UTF-8 when read are restored."""
    return string(value.encode("utf-8", "surrogateescape"))


class Reader:
    """Reads fields from the front of a message; raises :class:`Malformed` if too little is left."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise Malformed(f"{size} bytes wanted, {len(self._data) - self._at} left")
        value = self._data[self._at : end]
        self._at = end
        return value

    def byte(self) -> int:
        return self.take(1)[0]

    def boolean(self) -> bool:
        return self.take(1) != b"\0"

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        return self.string().decode("utf-8", "surrogateescape")

    def rest(self) -> bytes:
        value = self._data[self._at :]
        self._at = len(self._data)
        return value

    def end(self) -> None:
        """Raises :class:`Malformed` if bytes are left."""
        if self._at != len(self._data):
            raise Malformed(f"{len(self._data) - self._at} bytes too many")
