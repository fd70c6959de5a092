"""Splitting of output into lines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.logs.lines import MAX_MESSAGE_BYTES, LineBuffer, cut_before_sequence

pytestmark = pytest.mark.unit


def lines_of(*writes: bytes, flush: bool = True) -> list[bytes]:
    buffer = LineBuffer()
    lines = [line for data in writes for line in buffer.write(data)[0]]
    return [*lines, *(buffer.flush()[0] if flush else ())]


FULL = b"x" * MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("writes", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a\rb\r\nc"], [b"a", b"b", b"c"]),
        ([b"\n\r\n\n"], []),
        ([b"a", b"b", b"\nc"], [b"ab", b"c"]),
        ([b"  a  \n"], [b"  a  "]),
        ([FULL], [FULL]),
        ([FULL + b"y"], [FULL, b"y"]),
        ([FULL + b"y\n"], [FULL, b"y"]),
        ([FULL, b"\nz\n"], [FULL, b"z"]),
        ([FULL * 2 + b"y\nz"], [FULL, FULL, b"y", b"z"]),
        ([FULL[:-1] + "é".encode() + b"\n"], [FULL[:-1], "é".encode()]),
        ([FULL[:-1] + b"\xc3", b"\xa9\n"], [FULL[:-1], "é".encode()]),
        ([FULL[:-3] + "🎉".encode() + b"\n"], [FULL[:-3], "🎉".encode()]),
        ([FULL[:-2] + "é".encode() + b"z\n"], [FULL[:-2] + "é".encode(), b"z"]),
        ([FULL[:-3] + b"\x80\x80\x80z\n"], [FULL[:-3] + b"\x80\x80\x80", b"z"]),
    ],
)
def test_lines(writes: Any, lines: Any) -> None:
    assert lines_of(*writes) == lines


def test_a_full_line_does_not_wait_for_its_end() -> None:
    assert lines_of(FULL, flush=False) == [FULL]


def test_an_incomplete_line_waits() -> None:
    assert lines_of(b"a\nb", flush=False) == [b"a"]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_how_output_arrives_does_not_matter(data: Any, cuts: Any) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    assert lines_of(*pieces) == [line for line in data.replace(b"\r", b"\n").split(b"\n") if line]


@given(st.text(min_size=5), st.integers(4, 20))
def test_a_cut_never_tears_a_sequence(text: Any, limit: Any) -> None:
    data = text.encode()
    if len(data) > limit:
        cut = cut_before_sequence(data, limit)
        assert limit - 3 <= cut <= limit
        data[:cut].decode()


long_output = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"\n", b"\r\n", b"\n\n\n", FULL, FULL[:-1], FULL + b"y", b"a\n" * 3000]),
    ),
    max_size=8,
)


@given(long_output)
def test_lines_that_are_skipped_are_counted_as_if_they_had_been_made(writes: list[bytes]) -> None:
    """What a mute app writes is not split, and the counts of lines and bytes are the same, cut lines too."""
    buffer, skipping = LineBuffer(), LineBuffer()
    for data in writes:
        made, _ = buffer.write(data)
        assert skipping.skip(data) == (len(made), sum(map(len, made)))
    assert skipping.flush() == buffer.flush()


@given(long_output, st.data())
def test_a_restart_at_the_end_of_any_line_changes_no_line_and_no_offset(
    writes: list[bytes], draw: st.DataObject
) -> None:
    """However the stream is cut into reads, and whichever lines were delivered before."""
    data = b"".join(writes)
    whole = lines_with_offsets(data, [len(data)])
    begin = draw.draw(st.sampled_from([0, *(offset for _, offset in whole)]))
    cuts = draw.draw(st.lists(st.integers(begin, len(data)), max_size=5).map(sorted))
    later = lines_with_offsets(data, [*cuts, len(data)], begin)
    assert later == [(line, offset) for line, offset in whole if offset > begin]


def lines_with_offsets(data: bytes, cuts: list[int], begin: int = 0) -> list[tuple[bytes, int]]:
    buffer = LineBuffer()
    lines: list[tuple[bytes, int]] = []
    for end in cuts:
        lines += zip(*buffer.write(data[begin:end], end), strict=True)
        assert all(data[:offset].endswith(line.replace(b"\r", b"\n")) for line, offset in lines[-3:])
        begin = end
    lines += zip(*buffer.flush(len(data)), strict=True)
    return lines
