"""Durations, integers and quoted text in flags and messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.gotext import (
    HOUR,
    MICROSECOND,
    MILLISECOND,
    MINUTE,
    SECOND,
    decimal_integer,
    format_duration,
    parse_duration,
    parse_integer,
    quote,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1s", SECOND),
        ("500ms", 500 * MILLISECOND),
        ("1m30s", 90 * SECOND),
        ("1.5h", 90 * MINUTE),
        ("-1.5s", -1500 * MILLISECOND),
        ("+5s", 5 * SECOND),
        (".5s", 500 * MILLISECOND),
        ("1.s", SECOND),
        ("3us", 3 * MICROSECOND),
        ("3\u00b5s", 3 * MICROSECOND),
        ("7ns", 7),
        ("0.5ns", 0),
        ("2562047h", 2562047 * HOUR),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "-", "5", "1.5", "s", "1x", ".s", "1s2", " 1s", "9999999h", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (100, "100ns"),
        (20 * MICROSECOND, "20\u00b5s"),
        (1500 * MICROSECOND, "1.5ms"),
        (500 * MILLISECOND, "500ms"),
        (SECOND, "1s"),
        (1500 * MILLISECOND, "1.5s"),
        (MINUTE, "1m0s"),
        (HOUR, "1h0m0s"),
        (HOUR + 1500 * MILLISECOND, "1h0m1.5s"),
        (-MINUTE, "-1m0s"),
    ],
)
def test_how_durations_are_shown(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(-(1 << 62), 1 << 62))
def test_a_shown_duration_is_read_as_the_same(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("0x10", 16),
        ("0X1f", 31),
        ("0o17", 15),
        ("0b101", 5),
        ("017", 15),
        ("1_000", 1000),
        ("0x_ff", 255),
        ("-9223372036854775808", -(1 << 63)),
    ],
)
def test_integers(text: str, value: int) -> None:
    assert parse_integer(text) == value


@pytest.mark.parametrize("text", ["", "-", "x", "1.5", " 1", "1 ", "08", "0x", "1__0", "_1", "1_", "\u0661"])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(ValueError, match=r"no integer|invalid literal"):
        parse_integer(text)


@pytest.mark.parametrize("text", ["99999999999999999999", "9223372036854775808", "-9223372036854775809"])
def test_integers_out_of_range(text: str) -> None:
    with pytest.raises(OverflowError):
        parse_integer(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8080", 8080),
        ("+8080", 8080),
        ("007", 7),
        ("-1", -1),
        ("", None),
        (" 80", None),
        ("80a", None),
        ("0x10", None),
        ("1_0", None),
        ("99999999999999999999", None),
    ],
)
def test_plain_decimal_integers(text: str, value: int | None) -> None:
    assert decimal_integer(text) == value


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", '"a b"'),
        ('"\\', '"\\"\\\\"'),
        ("\n\t\x00\x7f", '"\\n\\t\\x00\\x7f"'),
        ("\u00e4\u20ac", '"\u00e4\u20ac"'),
        ("\u2028\U000e0001", '"\\u2028\\U000e0001"'),
        ("\udcff", '"\\xff"'),
    ],
)
def test_quoted_text(text: str, quoted: str) -> None:
    assert quote(text) == quoted
