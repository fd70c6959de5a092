"""JSON, byte for byte as Go writes it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.gojson import JSONError, decode, decode_object, encode, member, shortest

pytestmark = pytest.mark.unit

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (1000.0, "1000"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1.25e-5, "0.0000125"),
        (1e-7, "1e-7"),
        (1e-10, "1e-10"),
        (123456.789, "123456.789"),
        (0.0, "0"),
        (-0.0, "-0"),
    ],
)
def test_shortest_numbers(number: float, text: str) -> None:
    assert shortest(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_shown_number_is_the_same_number(number: float) -> None:
    assert math.isclose(float(shortest(number)), number, rel_tol=0, abs_tol=0)


def test_what_is_escaped() -> None:
    text = '{"a":"<b>&\u2028\u2029\u00e9\\u0041\\/\\n\\u0001"}'
    assert encode(decode(text)) == '{"a":"\\u003cb\\u003e\\u0026\\u2028\\u2029\u00e9A/\\n\\u0001"}'


@pytest.mark.parametrize("text", ['"\\ud800"', '"\udcff"'])
def test_what_is_no_character_is_replaced(text: str) -> None:
    assert encode(decode(text)) == '"\ufffd"'


def test_order_of_members() -> None:
    value = decode('{"z":{"y":1,"x":[{"b":1,"a":2}]},"a":null,"t":true,"t":false}')
    assert encode(value) == '{"z":{"y":1,"x":[{"b":1,"a":2}]},"a":null,"t":false}'
    assert encode(value, sort=True) == '{"a":null,"t":false,"z":{"x":[{"a":2,"b":1}],"y":1}}'


@example(-0.0)
@given(VALUES)
def test_what_is_written_can_be_read(value: Any) -> None:
    text = encode(value)
    assert json.loads(text) == decode(text)
    assert encode(decode(text)) == text  # the minus of -0 too, which Python's own reader drops
    assert decode(encode(value, sort=True)) == decode(text)


@pytest.mark.parametrize("text", ["", "  ", "{", '{"a":'])
def test_texts_that_end_too_early(text: str) -> None:
    with pytest.raises(JSONError, match="unexpected end of JSON input"):
        decode(text)


@pytest.mark.parametrize(
    "text", ["bogus", "{} x", "NaN", "[Infinity]", "-Infinity", "1e999", "[1,]", "[" * 100000]
)
def test_texts_that_are_no_json(text: str) -> None:
    with pytest.raises(JSONError):
        decode(text)


def test_members_by_kind() -> None:
    holder = decode_object('{"a":"x","b":null,"c":1,"d":true}', "thing")
    assert member(holder, "a", str, "thing.a") == "x"
    assert member(holder, "b", str, "thing.b") is None
    assert member(holder, "missing", list, "thing.missing") is None
    for name, kind in (("a", int), ("c", str), ("d", int), ("c", dict)):
        with pytest.raises(JSONError, match=rf"json: cannot unmarshal \w+ into thing.{name} of type \w+"):
            member(holder, name, kind, f"thing.{name}")


@pytest.mark.parametrize("text", ["[]", '"x"', "1", "true"])
def test_only_objects_have_members(text: str) -> None:
    with pytest.raises(JSONError, match="cannot unmarshal"):
        decode_object(text, "thing")


def test_null_is_an_object_without_members() -> None:
    assert decode_object("null", "thing") == {}


@pytest.mark.parametrize("depth", [600, 100_000])
def test_nested_beyond_reason(depth: int) -> None:
    with pytest.raises(JSONError):
        encode(decode("[" * depth + "]" * depth))
