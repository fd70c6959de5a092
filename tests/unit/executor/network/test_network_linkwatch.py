"""The kernel's messages about interfaces."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.network.linkwatch import lost_links

pytestmark = pytest.mark.unit

NEW, DELETED, ADDRESS = 16, 17, 20
UP, NOT_UP = 0x1003, 0x1002


def news(kind: int, name: str, flags: int, changed: int) -> bytes:
    text = name.encode() + b"\0"
    attributes = struct.pack("=HHI", 8, 13, 1000) + struct.pack("=HH", 4 + len(text), 3) + text
    body = struct.pack("=BxHiII", 0, 1, 7, flags, changed) + attributes + bytes(-len(attributes) % 4)
    return struct.pack("=LHHLL", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("data", "lost"),
    [
        (news(DELETED, "cf1-2", NOT_UP, 0xFFFFFFFF), ["cf1-2"]),
        (news(NEW, "cf1-2", NOT_UP, 1), ["cf1-2"]),
        (news(NEW, "cf1-2", UP, 1), []),
        (news(NEW, "cf1-2", NOT_UP, 0xFFFFFFFF), []),
        (news(NEW, "cf1-2", NOT_UP, 0x10000), []),
        (news(ADDRESS, "cf1-2", NOT_UP, 1), []),
        (news(NEW, "a", UP, 1) + news(DELETED, "b", UP, 1) + news(DELETED, "c", UP, 1), ["b", "c"]),
    ],
    ids=["gone", "taken down", "brought up", "made", "other flag", "no interface", "several"],
)
def test_what_is_lost(data: bytes, lost: list[str]) -> None:
    assert list(lost_links(data)) == lost


@given(st.binary(max_size=200))
def test_anything_is_read_without_an_error(data: bytes) -> None:
    list(lost_links(data))
    list(lost_links(news(DELETED, "cf1-2", 0, 0)[:36] + data))
