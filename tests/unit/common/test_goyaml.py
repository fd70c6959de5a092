"""YAML with the spelling of every scalar."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from common import goyaml
from common.goyaml import YAMLError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("written", ["12", "1.10", "yes", "0x10", "2001-01-01", "a:b", "!foo x"])
def test_scalars_are_text_as_written(written: str) -> None:
    value = goyaml.load(f"key: {written}")
    assert goyaml.text(value["key"], "key") == written.removeprefix("!foo ")


@pytest.mark.parametrize("document", ["", "# nothing", "null", "~", "--- \n"])
def test_documents_without_content(document: str) -> None:
    assert goyaml.load(document) is None


def test_the_last_of_duplicate_keys_counts_and_only_the_first_document() -> None:
    assert goyaml.load("a: 1\nb: 2\na: 3\n---\nc: [") == {"a": "3", "b": "2"}


def test_anchors_and_merges() -> None:
    document = "base: &b {x: 1}\nhere:\n  <<: *b\n  y: 2\n"
    assert goyaml.load(document)["here"] == {"x": "1", "y": "2"}


@pytest.mark.parametrize(
    "document", ["\tbad: [", "a: [", "{", "a: b: c", "? [1]: 2", "&a [*a", "%YAML 9", "\x01", "[" * 3000]
)
def test_what_is_no_yaml(document: str) -> None:
    with pytest.raises(YAMLError, match=r"^yaml: "):
        goyaml.load(document)


def test_json_is_yaml() -> None:
    assert goyaml.load('{"a":"b\\u0041","c":[1,null]}') == {"a": "bA", "c": ["1", None]}


@pytest.mark.parametrize(
    ("document", "plain"),
    [
        ("a: 1\nb: 1.5\nc: true\nd: x\ne: '1'\nf: null\ng: [0x10, no]", None),
        ("[.inf, 1e400x, 2001-01-01]", [".inf", "1e400x", "2001-01-01"]),
        ("1: {2: 3}", {"1": {"2": 3}}),
    ],
)
def test_plain_values(document: str, plain: Any) -> None:
    expected = plain or {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "x",
        "e": "1",
        "f": None,
        "g": [16, False],
    }
    assert goyaml.plain_value(goyaml.load(document)) == expected


@pytest.mark.parametrize(
    ("reader", "document"),
    [
        (goyaml.mapping, "[1]"),
        (goyaml.mapping, "x"),
        (goyaml.sequence, "{a: 1}"),
        (goyaml.sequence, "x"),
        (goyaml.text, "[1]"),
        (goyaml.text, "{a: 1}"),
        (goyaml.integer, "x"),
        (goyaml.integer, "1.5"),
        (goyaml.integer, "true"),
        (goyaml.integer, "[1]"),
    ],
)
def test_values_of_the_wrong_kind(reader: Any, document: str) -> None:
    with pytest.raises(YAMLError, match="cannot unmarshal"):
        reader(goyaml.load(document), "thing")


def test_null_is_empty_everywhere() -> None:
    assert goyaml.mapping(None, "") == {}
    assert goyaml.sequence(None, "") == []
    assert goyaml.text(None, "") == ""
    assert goyaml.integer(None, "") == 0


def test_whole_numbers() -> None:
    assert [goyaml.integer(value, "n") for value in goyaml.load("[64, 0x40, 64.0]")] == [64, 64, 64]


def test_a_few_lines_that_stand_for_more_than_any_memory_holds() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, other in pairwise("abcdefghijklmnop"):
        lines.append(f"{other}: &{other} [{', '.join([f'*{one}'] * 9)}]")
    with pytest.raises(YAMLError, match=r"^yaml: document contains excessive aliasing$"):
        goyaml.load("\n".join(lines))


@pytest.mark.parametrize("document", ["a: &a [*a]", "[" * 100_000, "{a: " * 5000, "\0", "\x85\ud800"])
def test_documents_that_lead_nowhere(document: str) -> None:
    with pytest.raises(YAMLError, match=r"^yaml: "):
        goyaml.load(document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("web:\t./run", {"web": "./run"}),
        ("web: ./run\t", {"web": "./run"}),
        ("web: ./run\t# starts the app", {"web": "./run"}),
        ("web: ./run\t\nworker: ./work\n", {"web": "./run", "worker": "./work"}),
        ("web: ./run\t--fast", {"web": "./run\t--fast"}),
        ("web: \t ./run\r\nworker:\t./work\r\n", {"web": "./run", "worker": "./work"}),
        ("a:\t\n  b: 1\n", {"a": {"b": "1"}}),
        ("a: [x,\ty,\t# both\n\tz]\n", {"a": ["x", "y", "z"]}),
        ("a: 'x'\t\nb: \"y\"\t# quoted\n", {"a": "x", "b": "y"}),
        ("a: |\t\n  x\n", {"a": "x\n"}),
        ("---\t# begins\na: 1\n", {"a": "1"}),
    ],
)
def test_tabs_where_libyaml_takes_them(document: str, expected: Any) -> None:
    """Tabs after a colon, at the end of a line and before a comment, as real Procfiles have them."""
    assert goyaml.load(document) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("\tweb: ./run", "line 1, column 1: found character that cannot start any token"),
        ("web: ./run\n\tworker: x", "line 2, column 1: found a tab character that violates indentation"),
        ("a:\n  - x\n  y: 1\n", "line 3, column 3: did not find expected '-' indicator"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed in this context"),
        ("a: 1\nb: [1, 2\n", "line 3, column 1: did not find expected ',' or ']'"),
        ("a: \x01", "control characters are not allowed"),
        ("a: \udcff", "invalid leading UTF-8 octet"),
        ("a: \ud800", "invalid UTF-8"),
        ("[" * 3000, "document is nested too deeply"),
    ],
)
def test_an_error_says_line_and_column(document: str, message: str) -> None:
    with pytest.raises(YAMLError) as caught:
        goyaml.load(document)
    assert str(caught.value) == f"yaml: {message}"
