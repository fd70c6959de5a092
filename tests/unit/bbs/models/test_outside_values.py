"""Texts and numbers from peers and users."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.models.text import well_formed, whole_number
from common.gotext import InvalidDuration, parse_duration

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("100", 100), ("0" * 5000 + "9", 9), ("101", None), ("9" * 5000, None), ("", None)]
    + [(text, None) for text in ("-1", "+1", " 1", "1_0", "\u0661", "1.0", "x")],
)
def test_numbers_of_any_length(text: str, number: int | None) -> None:
    assert whole_number(text, 100) == number


@given(st.integers(0, 2**70))
def test_a_number_is_itself_up_to_the_bound(number: int) -> None:
    assert whole_number(str(number), 2**63 - 1) == (number if number < 2**63 else None)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a", "a"),
        ("\ud800", "\ufffd"),
        ("a\udcffb", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\u00e9", "\u00e9"),
    ],
)
def test_halves_of_surrogate_pairs_are_replaced(text: str, clean: str) -> None:
    assert well_formed(text) == clean


@given(st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_encoded_afterwards(text: str) -> None:
    assert well_formed(text).encode().decode() == well_formed(text)


@pytest.mark.parametrize("text", ["9" * 5000 + "s", "-" + "9" * 5000 + "h", "1" * 5000])
def test_durations_of_any_length_are_refused(text: str) -> None:
    with pytest.raises(InvalidDuration):
        parse_duration(text)


def test_a_fraction_of_any_length_is_cut() -> None:
    assert parse_duration("0." + "5" * 5000 + "s") == 555_555_555
