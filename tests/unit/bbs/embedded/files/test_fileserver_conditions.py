"""Conditional and range requests, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.embedded.files.conditions import (
    ByteRange,
    UnsatisfiableRange,
    Validators,
    Verdict,
    check,
    parse_range,
    requested_part,
)

pytestmark = pytest.mark.unit

NOW = "Tue, 10 Mar 2026 12:00:00 GMT"
EARLIER = "Tue, 10 Mar 2026 11:59:59 GMT"
LATER = "Tue, 10 Mar 2026 12:00:01 GMT"
FILE = Validators('"abc"', datetime(2026, 3, 10, 12, tzinfo=UTC))


def test_the_date_is_written_as_http_wants_it() -> None:
    assert FILE.last_modified() == NOW


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, 200),
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc"'}, 304),
        ({"If-None-Match": '"x", W/"y" , "abc"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"abcd"'}, 200),
        ({"If-None-Match": "abc"}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": NOW}, 200),
        ({"If-Modified-Since": NOW}, 304),
        ({"If-Modified-Since": LATER}, 304),
        ({"If-Modified-Since": EARLIER}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Match": '"abc"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": 'W/"abc"'}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": '"x"', "If-None-Match": '"abc"'}, 412),
        ({"If-Match": '"abc"', "If-Unmodified-Since": EARLIER}, 200),
        ({"If-Unmodified-Since": NOW}, 200),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Unmodified-Since": "never"}, 200),
    ],
)
def test_conditions(headers: dict[str, str], verdict: int) -> None:
    assert check(headers, FILE) is Verdict(verdict)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 3)),
        ("bytes=7-", (7, 3)),
        ("bytes=8-99", (8, 2)),
        ("bytes=-3", (7, 3)),
        ("bytes=-99", (0, 10)),
        ("bytes= 1 - 2 ", (1, 2)),
    ],
)
def test_ranges_of_ten_bytes(header: str, part: tuple[int, int]) -> None:
    assert parse_range(header, 10) == ByteRange(*part)


@pytest.mark.parametrize("header", ["bytes=1-2,4-4", "bytes=0-,0-,0-", "bytes=10-11,99-"])
def test_several_ranges_are_the_whole_file(header: str) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("bytes=10-", "invalid range: failed to overlap"),
        ("lines=1-2", "invalid range"),
        ("bytes=4-2", "invalid range"),
        ("bytes=5", "invalid range"),
        ("bytes=-", "invalid range"),
        ("bytes=a-b", "invalid range"),
        ("bytes=--3", "invalid range"),
    ],
)
def test_ranges_that_cannot_be(header: str, text: str) -> None:
    with pytest.raises(UnsatisfiableRange) as caught:
        parse_range(header, 10)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("headers", "size", "sent"),
    [
        ({}, 10, False),
        ({"Range": "bytes=0-1"}, 10, True),
        ({"Range": "bytes=0-1"}, 0, False),
        ({"Range": "bytes=0-1", "If-Range": '"abc"'}, 10, True),
        ({"Range": "bytes=0-1", "If-Range": 'W/"abc"'}, 10, False),
        ({"Range": "bytes=0-1", "If-Range": '"old"'}, 10, False),
        ({"Range": "bytes=0-1", "If-Range": NOW}, 10, True),
        ({"Range": "bytes=0-1", "If-Range": EARLIER}, 10, False),
        ({"Range": "bytes=0-1", "If-Range": "nonsense"}, 10, False),
    ],
)
def test_when_a_part_is_sent(headers: dict[str, str], size: int, sent: bool) -> None:
    assert (requested_part(headers, FILE, size) is not None) == sent


@given(start=st.integers(0, 50), end=st.integers(0, 50), size=st.integers(1, 40))
def test_a_part_never_leaves_the_file(start: int, end: int, size: int) -> None:
    try:
        part = parse_range(f"bytes={start}-{end}", size)
    except UnsatisfiableRange:
        assert start >= size or end < start
    else:
        assert part is not None
        assert part.start == start
        assert part.start + part.length == min(end + 1, size)
