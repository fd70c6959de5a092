"""Strict tar reader with bounded memory that does not trust headers.

Any detectable damage is an error. An archive ends with two empty blocks, or with the end of the file
between two members. (Python's own reader treats a broken header after the first one as the end.) Blocks.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from executor.cache import tarheaders
from executor.cache.api import ArchiveError
from executor.cache.tarheaders import BLOCK, Header, Hole, broken

HEADER_LIMIT = 1 << 20
"""Maximum header bytes of one member: long names, extended attributes, sparse maps."""

EXTENSIONS_LIMIT = 128 << 20
"""Maximum bytes of all extension headers of an archive, without 512-byte blocks: 256 per member of the
largest allowed archive. Parsing a MiB takes up to 0.3 s.
"""

_EMPTY = bytes(BLOCK)


class Kind(Enum):
    """Type of a member."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    FIFO = "FIFO"
    DEVICE = "device"


_WITHOUT_CONTENT = {
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.DEVICE,
    tarfile.BLKTYPE: Kind.DEVICE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_DUMPED_DIRECTORY, _CONTINUED, _LABEL = b"D", b"M", b"V"
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


@dataclass(frozen=True, slots=True)
class Part:
    """``length`` bytes at ``position`` in the tar that belong at ``offset`` in the member."""

    offset: int
    position: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member. size: bytes of the unpacked file. parts: its data; the rest is holes. mtime: ns.

    name, link: as in the archive, invalid UTF-8 as surrogates.
    """

    name: str
    kind: Kind
    size: int
    parts: tuple[Part, ...]
    mode: int
    uid: int
    gid: int
    mtime: int
    link: str


def members(fd: int) -> Iterator[Member]:
    """The members of the tar open at ``fd``. Raises OSError, and ArchiveError for a broken archive."""
    reader = _Reader(fd)
    while (member := reader.next()) is not None:
        yield member


@dataclass(slots=True)
class _Extensions:
    """Extension headers of the next member."""

    records: dict[str, str]
    name: bytes | None = None
    link: bytes | None = None
    pending: bool = False


class _Reader:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = os.fstat(fd).st_size
        self._position = 0
        self._global: dict[str, str] = {}
        self._header_bytes = 0
        self._extension_bytes = 0

    def next(self) -> Member | None:
        extensions = _Extensions(dict(self._global))
        self._header_bytes = 0
        while (block := self._header_block(extensions)) is not None:
            header = tarheaders.decode(block)
            if self._extends(header, extensions):
                continue
            if header.kind == _LABEL:
                self._skip(header.size)
                continue
            return self._member(header, extensions, block)
        return None

    def _header_block(self, extensions: _Extensions) -> bytes | None:
        """The next header block; None at the end of the archive."""
        block = os.pread(self._fd, BLOCK, self._position)
        ended = not block
        if block == _EMPTY:
            following = os.pread(self._fd, BLOCK, self._position + BLOCK)
            ended = following in (b"", _EMPTY)
            if not ended:
                raise broken("an empty block stands where a header should be")
        if ended:
            if extensions.pending:
                raise broken("it ends where a header should be")
            return None
        if len(block) < BLOCK:
            raise broken("it ends inside a header")
        self._take_header(BLOCK)
        self._position += BLOCK
        return block

    def _take_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_LIMIT:
            raise ArchiveError(f"archive refused: one of its headers has more than {HEADER_LIMIT} bytes")

    def _skip(self, size: int) -> None:
        """Skip content, which must exist, including the padding of its last block."""
        self._position += -(-size // BLOCK) * BLOCK
        if self._position > self._end:
            raise broken("it ends inside a member")

    def _payload(self, size: int) -> bytes:
        self._take_header(size)
        self._extension_bytes += size
        if self._extension_bytes > EXTENSIONS_LIMIT:
            raise ArchiveError(
                f"archive refused: its headers have more than {EXTENSIONS_LIMIT} bytes together"
            )
        begin = self._position
        self._skip(size)
        return os.pread(self._fd, size, begin)

    def _extends(self, header: Header, extensions: _Extensions) -> bool:
        """Record an extension header; false if the header is a member's own."""
        kind = header.kind
        if kind in _PAX:
            extensions.records |= tarheaders.records(self._payload(header.size))
        elif kind == tarfile.XGLTYPE:
            self._global |= (records := tarheaders.records_for_all(self._payload(header.size)))
            extensions.records |= records
            return True
        elif kind == tarfile.GNUTYPE_LONGNAME:
            extensions.name = tarheaders.long_text(self._payload(header.size))
        elif kind == tarfile.GNUTYPE_LONGLINK:
            extensions.link = tarheaders.long_text(self._payload(header.size))
        else:
            return False
        extensions.pending = True
        return True

    def _member(self, header: Header, extensions: _Extensions, block: bytes) -> Member:
        records = extensions.records
        size = tarheaders.size_of(header, records)
        name = _text(extensions.name, records.get("path"), header.name)
        kind = _WITHOUT_CONTENT.get(header.kind, Kind.FILE)
        parts: tuple[Part, ...] = ()
        if header.kind == _CONTINUED:
            raise broken("it is one of several volumes")
        if kind is not Kind.FILE:
            size = 0
        elif header.kind == _DUMPED_DIRECTORY or (header.kind in _PLAIN and name.endswith("/")):
            kind = Kind.DIRECTORY
            self._skip(size)
            size = 0
        else:
            size, parts, sparse_name = self._content(header, size, records, block)
            name = sparse_name or name
        if not name:
            raise broken("a member has no name")
        return Member(
            name=name,
            kind=kind,
            size=size,
            parts=parts,
            mode=header.mode,
            uid=tarheaders.number_of(records, "uid", header.uid),
            gid=tarheaders.number_of(records, "gid", header.gid),
            mtime=tarheaders.nanoseconds(records["mtime"]) if records.get("mtime") else header.mtime,
            link=_text(extensions.link, records.get("linkpath"), header.link),
        )

    def _content(
        self, header: Header, packed: int, records: dict[str, str], block: bytes
    ) -> tuple[int, tuple[Part, ...], str]:
        """Size and parts of a file, and the separate name of a sparse one."""
        end = self._position + packed
        size, name = packed, ""
        version = (records.get("GNU.sparse.major", ""), records.get("GNU.sparse.minor", ""))
        if header.kind == tarfile.GNUTYPE_SPARSE:
            entries, size = self._old_sparse_map(header, block)
            end = self._position + packed
        elif version in (("1", "0"), ("0", "0"), ("0", "1")) or (
            version == ("", "") and records.get("GNU.sparse.map")
        ):
            name = records.get("GNU.sparse.name", "")
            if real := records.get("GNU.sparse.size") or records.get("GNU.sparse.realsize"):
                size = tarheaders.decimal(real)
            if version == ("1", "0"):
                entries = self._sparse_map_in_content(packed)
            else:
                entries = tarheaders.text_sparse_map(records.get("GNU.sparse.map", ""))
        else:
            entries = [(0, packed)] if packed else []
        begin = self._position
        self._skip(end - begin)
        tarheaders.check_sparse_map(entries, size, end - begin)
        return size, _parts(entries, begin), name

    def _old_sparse_map(self, header: Header, block: bytes) -> tuple[list[Hole], int]:
        """GNU's old sparse map, which continues in blocks after the header, and the size of the file."""
        if not header.gnu:
            raise broken("a sparse member is in no format that has such")
        size = tarheaders.number(block[tarheaders.OLD_SPARSE_SIZE])
        entries = tarheaders.old_sparse_map(block[tarheaders.OLD_SPARSE_ENTRIES])
        goes_on = block[tarheaders.OLD_SPARSE_GOES_ON]
        while goes_on:
            more = self._payload(BLOCK)
            entries += tarheaders.old_sparse_map(more[tarheaders.MORE_SPARSE_ENTRIES])
            goes_on = more[tarheaders.MORE_SPARSE_GOES_ON]
        return entries, size

    def _sparse_map_in_content(self, packed: int) -> list[Hole]:
        """The sparse map of version 1.0: lines of decimal numbers, the first is the number of entries."""
        text, used, left = bytearray(), 0, packed

        def line() -> int:
            nonlocal used, left
            while (end := text.find(b"\n", used)) < 0:
                left -= BLOCK
                if left < 0:
                    raise broken("the map of a sparse member is cut")
                text.extend(self._payload(BLOCK))
            value = tarheaders.decimal(text[used:end].decode("ascii", "replace"))
            used = end + 1
            return value

        return [(line(), line()) for _ in range(line())]


def _parts(entries: list[Hole], position: int) -> tuple[Part, ...]:
    parts = []
    for offset, length in entries:
        if length:
            parts.append(Part(offset, position, length))
        position += length
    return tuple(parts)


def _text(long: bytes | None, record: str | None, plain: bytes) -> str:
    """The name by precedence: GNU extension, pax record, header."""
    if long is None and record:
        return record
    return (plain if long is None else long).decode("utf-8", "surrogateescape")


class Readable(Protocol):
    """Source of content."""

    def read(self, length: int = ..., /) -> bytes: ...


class TarWriter(tarfile.TarFile):
    """Tar writer that does not keep written members; methods that look up members by name do not work."""

    members: list[tarfile.TarInfo]

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Readable | None = None) -> None:
        super().addfile(tarinfo, fileobj)
        self.members.clear()
