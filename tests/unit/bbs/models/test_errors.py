"""Errors of the BBS, and descriptions of JSON values."""

from __future__ import annotations

import pytest

from bbs.models.errors import DEFAULT_MESSAGES, BBSError, ErrorType
from bbs.models.invalid import InvalidDocument, describe

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("type_", list(ErrorType))
def test_message_when_none_is_given(type_: ErrorType) -> None:
    error = BBSError(type_)
    assert error.message == str(error) == DEFAULT_MESSAGES.get(type_, type_.name)
    assert BBSError(type_, "").message == ""


def test_equal_errors_are_one() -> None:
    same = {BBSError(ErrorType.Timeout, "a"), BBSError(ErrorType.Timeout, "a")}
    assert same == {BBSError(ErrorType.Timeout, "a")}
    assert BBSError(ErrorType.Timeout, "a") != BBSError(ErrorType.Timeout, "b")
    assert BBSError(ErrorType.Timeout) != ValueError("Timeout")
    assert repr(BBSError(ErrorType.Timeout, "a")) == "BBSError(Timeout, 'a')"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.5, "the number 1.5"),
        ("x" * 50, f'the string "{"x" * 40}..."'),
        ([], "a list"),
        ({}, "an object"),
        (b"", "a bytes"),
    ],
)
def test_values_in_words(value: object, words: str) -> None:
    assert describe(value) == words


def test_an_error_seen_from_outside() -> None:
    inner = InvalidDocument("$.path", "a string", "null")
    outer = inner.within("[0]").within(".actions")
    assert str(outer) == "$.actions[0].path: expected a string, got null"
