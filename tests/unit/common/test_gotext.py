"""Integers and quoted text in flags and messages."""

from __future__ import annotations

import pytest

from common.gotext import (
    decimal_integer,
    parse_integer,
    quote,
)

pytestmark = pytest.mark.unit


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
