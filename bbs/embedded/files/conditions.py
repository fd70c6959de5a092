"""Conditional and range requests for a file, as pure functions of header values (RFC 9110, 13 and 14).

Where the RFC leaves a choice, the behaviour is that of Go's file server, which clients expect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum
from typing import Final

from bbs.models.text import whole_number

ENTITY_TAG: Final = re.compile(r'\s*,?\s*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")')
UNIT: Final = "bytes="
LARGEST: Final = 2**63 - 1
"""Largest number in a range; a larger one makes the range invalid, as in Go."""


class Verdict(Enum):
    """Result of the preconditions of a request."""

    SERVE = 200
    NOT_MODIFIED = 304
    PRECONDITION_FAILED = 412


class UnsatisfiableRange(Exception):
    """Status 416; the message is the response text. no_overlap: the range is valid but outside the file."""

    def __init__(self, text: str, *, no_overlap: bool = False) -> None:
        self.no_overlap = no_overlap
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Validators:
    """Validators of a file version. etag: strong, with quotes. modified: whole seconds, UTC."""

    etag: str
    modified: datetime

    def last_modified(self) -> str:
        return format_datetime(self.modified, usegmt=True)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Part of a file."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def check(headers: Mapping[str, str], file: Validators) -> Verdict:
    """Evaluate preconditions; those on tags take precedence over those on dates."""
    if "If-Match" in headers:
        if not _any_tag(headers["If-Match"], file.etag, weak=False):
            return Verdict.PRECONDITION_FAILED
    else:
        unmodified_since = _date(headers.get("If-Unmodified-Since"))
        if unmodified_since and file.modified > unmodified_since:
            return Verdict.PRECONDITION_FAILED
    if "If-None-Match" in headers:
        matched = _any_tag(headers["If-None-Match"], file.etag, weak=True)
        return Verdict.NOT_MODIFIED if matched else Verdict.SERVE
    modified_since = _date(headers.get("If-Modified-Since"))
    if modified_since and file.modified <= modified_since:
        return Verdict.NOT_MODIFIED
    return Verdict.SERVE


def requested_part(headers: Mapping[str, str], file: Validators, size: int) -> ByteRange | None:
    """Part to send; None for the whole file. Raises UnsatisfiableRange."""
    header = headers.get("Range", "")
    if not header or not _if_range(headers.get("If-Range"), file):
        return None
    try:
        return parse_range(header, size)
    except UnsatisfiableRange as error:
        if error.no_overlap and size == 0:
            return None
        raise


def parse_range(header: str, size: int) -> ByteRange | None:
    """The range of a header, clipped to the file; None for several ranges, which a server may ignore.

    Raises UnsatisfiableRange.
    """
    if not header.startswith(UNIT):
        raise UnsatisfiableRange("invalid range")
    if "," in header:
        return None
    first, dash, last = (part.strip() for part in header.removeprefix(UNIT).partition("-"))
    start, end = whole_number(first, LARGEST), whole_number(last, LARGEST)
    if not dash or (first and start is None) or (last and end is None):
        raise UnsatisfiableRange("invalid range")
    if start is None:
        if end is None:
            raise UnsatisfiableRange("invalid range")
        length = min(end, size)
        return ByteRange(size - length, length)
    if start >= size:
        raise UnsatisfiableRange("invalid range: failed to overlap", no_overlap=True)
    if end is None:
        return ByteRange(start, size - start)
    if end < start:
        raise UnsatisfiableRange("invalid range")
    return ByteRange(start, min(end, size - 1) - start + 1)


def _if_range(value: str | None, file: Validators) -> bool:
    """Whether If-Range matches this version, so that the range applies."""
    if value is None:
        return True
    if value.startswith(('"', "W/")):
        return value == file.etag
    return _date(value) == file.modified


def _any_tag(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    position = 0
    while match := ENTITY_TAG.match(header, position):
        tag = match[1].removeprefix("W/") if weak else match[1]
        if tag == etag:
            return True
        position = match.end()
    return False


def _date(value: str | None) -> datetime | None:
    """An HTTP date; None for an invalid one, which is ignored."""
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):  # the parser's exceptions are undocumented
        return None
