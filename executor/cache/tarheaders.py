"""Strict decoder of tar headers. Pure.

It accepts what Go's archive/tar and GNU tar write and read: the formats v7, ustar, pax, GNU and star, with
GNU's four forms of sparse files. An undecodable field is an error, never a default, so that damage is
detected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from executor.cache.api import ArchiveError

BLOCK = 512
SECOND = 1_000_000_000
"""Nanoseconds per second."""

_CHECKSUM = slice(148, 156)
_RECORD_LENGTH = re.compile(rb"[0-9]{1,10} ")
_DECIMAL = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_TIME = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]*))?", re.ASCII)
_HOLES = "GNU.sparse."
_USED = frozenset(
    (
        *("path", "linkpath", "size", "uid", "gid", "mtime"),
        *(f"{_HOLES}{key}" for key in ("major", "minor", "name", "size", "realsize", "map")),
    )
)
_NAMES = frozenset(("path", "linkpath", "uname", "gname", "GNU.sparse.name"))

OLD_SPARSE_ENTRIES = slice(386, 482)
OLD_SPARSE_GOES_ON = 482
OLD_SPARSE_SIZE = slice(483, 495)
MORE_SPARSE_ENTRIES = slice(0, 504)
MORE_SPARSE_GOES_ON = 504
_ENTRY = 24
"""Bytes of an offset and a length in GNU's old sparse map."""

Hole = tuple[int, int]
"""Offset and length, in bytes, of data between holes."""


def broken(what: str) -> ArchiveError:
    """The error for a broken archive."""
    return ArchiveError(f"broken archive: {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header block. size: bytes of content after it. mtime: ns. name, link: raw bytes of the block."""

    name: bytes
    link: bytes
    kind: bytes
    size: int
    mode: int
    uid: int
    gid: int
    mtime: int
    gnu: bool


def decode(block: bytes) -> Header:
    """Decode a block of 512 bytes. Raises ArchiveError."""
    stored = number(block[_CHECKSUM])
    total = sum(block) - sum(block[_CHECKSUM]) + 8 * 32
    if stored != total and stored != total - 256 * _high_bytes(block):
        raise broken("the checksum of a header does not fit")
    magic = block[257:265]
    name = _text(block[0:100])
    if magic.startswith(b"ustar\0"):
        prefix = _text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
        name = prefix + b"/" + name if prefix else name
    size = number(block[124:136])
    if size < 0:
        raise broken("a member has a negative size")
    return Header(
        name=name,
        link=_text(block[157:257]),
        kind=block[156:157],
        size=size,
        mode=number(block[100:108]) & 0o7777,
        uid=number(block[108:116]),
        gid=number(block[116:124]),
        mtime=number(block[136:148]) * SECOND,
        gnu=magic == b"ustar  \0",
    )


def number(field: bytes) -> int:
    """Octal digits, or a signed binary number if the first bit is set. Raises ArchiveError."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes((field[0] & 0x7F, *field[1:])), "big")
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if not -(1 << 63) <= value < 1 << 63:
            raise broken("a number in a header is out of range")
        return value
    digits = field.strip(b" \0").partition(b"\0")[0]
    if digits.strip(b"01234567"):
        raise broken("a number in a header has other than octal digits")
    return int(digits, 8) if digits else 0


def _high_bytes(block: bytes) -> int:
    """Number of bytes over 127 outside the checksum: some writers sum signed bytes."""
    return sum(byte > 127 for byte in block[: _CHECKSUM.start] + block[_CHECKSUM.stop :])


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def long_text(payload: bytes) -> bytes:
    """The name in GNU's long name extension."""
    return _text(payload)


def records(payload: bytes) -> dict[str, str]:
    """The used records of a pax header; a sparse map in several records is joined.

    Raises ArchiveError, also for broken unused records.
    """
    found: dict[str, str] = {}
    sparse: list[str] = []
    position = 0
    while position < len(payload):
        length = _RECORD_LENGTH.match(payload, position)
        end = position + int(length.group()) if length else 0
        if length is None or not length.end() < end <= len(payload) or payload[end - 1 : end] != b"\n":
            raise broken("a pax record has no proper length")
        key, equals, value = (
            part.decode("utf-8", "surrogateescape")
            for part in payload[length.end() : end - 1].partition(b"=")
        )
        if not equals or not key or "\0" in key or (key in _NAMES and "\0" in value):
            raise broken("a pax record has no proper key or value")
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            if (key == "GNU.sparse.offset") == bool(len(sparse) % 2) or "," in value:
                raise broken("the map of a sparse member is not in order")
            sparse.append(value)
        elif key in _USED:
            found[key] = value
        position = end
    if sparse:
        found["GNU.sparse.map"] = ",".join(sparse)
    return found


def records_for_all(payload: bytes) -> dict[str, str]:
    """The records of a global pax header. Sparse maps in it are ignored: one could fit a single member only,
    and would be parsed for each. Raises ArchiveError.
    """
    return {key: value for key, value in records(payload).items() if not key.startswith(_HOLES)}


def decimal(text: str) -> int:
    """An integer of a pax record. Raises ArchiveError."""
    if not _DECIMAL.fullmatch(text):
        raise broken("a number of a pax record has other than decimal digits")
    return int(text)


def number_of(extended: dict[str, str], key: str, plain: int) -> int:
    """A number from the pax records, else from the header. Raises ArchiveError."""
    return decimal(extended[key]) if extended.get(key) else plain


def nanoseconds(text: str) -> int:
    """Convert a time of a pax record, in s with a fraction. Raises ArchiveError."""
    time = _TIME.fullmatch(text)
    if time is None:
        raise broken("a time of a pax record is none")
    value = int(time[2]) * SECOND + int((time[3] or "")[:9].ljust(9, "0"))
    return -value if time[1] else value


def size_of(header: Header, extended: dict[str, str]) -> int:
    """Bytes of content after a header, from its pax records if given. Raises ArchiveError."""
    size = number_of(extended, "size", header.size)
    if size < 0:
        raise broken("a member has a negative size")
    return size


def old_sparse_map(field: bytes) -> list[Hole]:
    """Sparse entries in a header or in a following block. Raises ArchiveError."""
    entries = []
    for start in range(0, len(field), _ENTRY):
        entry = field[start : start + _ENTRY]
        if not entry[0]:
            break
        entries.append((number(entry[:12]), number(entry[12:])))
    return entries


def text_sparse_map(text: str) -> list[Hole]:
    """A sparse map in a pax record. Raises ArchiveError."""
    numbers = [decimal(part) for part in text.split(",")] if text else []
    if len(numbers) % 2:
        raise broken("the map of a sparse member is cut")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def check_sparse_map(entries: Sequence[Hole], size: int, packed: int) -> None:
    """Refuse a map that is not ascending, exceeds the file's ``size`` or does not match the ``packed`` bytes.

    Raises ArchiveError.
    """
    end = 0
    for offset, length in entries:
        if length < 0 or offset < end or offset + length > size:
            raise broken("the map of a sparse member is not in order")
        end = offset + length
    if sum(length for _, length in entries) != packed:
        raise broken("the map of a sparse member does not fit its content")
