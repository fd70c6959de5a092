"""Durations as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.gotext import InvalidDuration, format_duration, format_size, parse_duration

pytestmark = pytest.mark.unit

S = 10**9


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (1_500_000, "1.5ms"),
        (500_000_000, "500ms"),
        (999_999_999, "999.999999ms"),
        (S, "1s"),
        (10 * S, "10s"),
        (60 * S, "1m0s"),
        (90_057_000_000, "1m30.057s"),
        (3600 * S, "1h0m0s"),
        (100 * 3600 * S + 1, "100h0m0.000000001s"),
        (-1_500_000, "-1.5ms"),
        (-(2**63), "-2562047h47m16.854775808s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
    ],
)
def test_both_ways(ns: int, text: str) -> None:
    assert format_duration(ns) == text
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("+5s", 5 * S),
        ("-0", 0),
        ("0.5h", 1800 * S),
        (".5s", S // 2),
        ("1.s", S),
        ("1m30s", 90 * S),
        ("30s1m", 90 * S),
        ("1us", 1000),
        ("1μs", 1000),
        ("1.0000000009s", S),
        ("0.3333333333333333333h", 1_199_999_999_999),
    ],
)
def test_read(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid duration"),
        ("-", "invalid duration"),
        ("s", "invalid duration"),
        (".s", "invalid duration"),
        ("abc", "invalid duration"),
        (" 1s", "invalid duration"),
        ("1s ", "unknown unit"),
        ("5", "missing unit"),
        ("1m5", "missing unit"),
        ("1.5", "missing unit"),
        ("1d", "unknown unit 'd'"),
        ("1s2x", "unknown unit 'x'"),
        ("--1s", "invalid duration"),
        ("9223372036854775808ns", "out of range"),
        ("3000000h", "out of range"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidDuration, match=words) as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_every_duration_comes_back(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


@given(st.text(alphabet="0123456789.hmsnuµ+-", max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        ns = parse_duration(text)
    except InvalidDuration:
        return
    assert parse_duration(format_duration(ns)) == ns


K = 1024


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (512, "512B"),
        (1023, "1023B"),
        (K, "1K"),
        (K + K // 2, "1.5K"),
        (int(12.3 * K**2), "12.3M"),
        (2 * K**3, "2G"),
        (K**4, "1T"),
        (5000 * K**4, "5000T"),
        (K**2 - 1, "1024K"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text
