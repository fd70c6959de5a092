"""The rows of a page, and readers of any speed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cell.page.board import PIECE_ROWS, Board, Reader

pytestmark = pytest.mark.unit


async def taken(reader: Reader) -> list[dict[str, Any]]:
    """All batches that wait."""
    found = []
    while reader.waiting:
        piece = await reader.next(1)
        assert piece is not None
        found.append(json.loads(piece))
    return found


async def test_a_reader_gets_all_rows_then_changes() -> None:
    board = Board()
    board.put("apps", "a", {"n": 1})
    with board.reader() as reader:
        assert await taken(reader) == [{"set": {"apps": [{"id": "a", "n": 1}]}, "gone": {}}]
        board.put("apps", "a", {"n": 1})
        assert not reader.waiting, "an equal row is no change"
        board.put("apps", "a", {"n": 2})
        board.put("tasks", "t", {})
        board.drop("tasks", "t")
        assert await taken(reader) == [{"set": {"apps": [{"id": "a", "n": 2}]}, "gone": {"tasks": ["t"]}}]
        assert await reader.next(0.01) is None


async def test_a_slow_reader_holds_each_row_once_and_gets_the_newest() -> None:
    board = Board()
    with board.reader() as reader:
        for number in range(1000):
            board.put("instances", f"i{number % 10}", {"n": number})
        assert reader.waiting == 10
        (batch,) = await taken(reader)
    assert [row["n"] for row in batch["set"]["instances"]] == list(range(990, 1000))


async def test_many_rows_come_in_pieces() -> None:
    board = Board()
    with board.reader() as reader:
        for number in range(PIECE_ROWS * 2 + 1):
            board.put("instances", str(number), {})
        batches = await taken(reader)
    assert [len(batch["set"]["instances"]) for batch in batches] == [PIECE_ROWS, PIECE_ROWS, 1]


async def test_rows_that_always_change_do_not_make_a_round_endless() -> None:
    board = Board()
    with board.reader() as reader:
        board.put("apps", "a", {"n": 0})
        for number in range(1, 4):
            piece = await reader.next(1)
            assert piece is not None
            assert json.loads(piece)["set"]["apps"][0]["n"] == number - 1
            board.put("apps", "a", {"n": number})
            assert reader.waiting == 1


async def test_a_full_table_says_so() -> None:
    board = Board(rows_most=2)
    for name in "abc":
        board.put("apps", name, {})
    assert sorted(board.ids("apps")) == ["a", "b"]
    assert board.full == {"apps"}
    board.put("apps", "a", {"changed": True})
    assert json.loads(board.whole())["apps"][0] == {"id": "a", "changed": True}


async def test_retaining_drops_the_others() -> None:
    board = Board()
    for name in "abc":
        board.put("apps", name, {})
    board.retain("apps", {"b"})
    assert list(board.ids("apps")) == ["b"]


async def test_texts_that_are_no_unicode_are_still_json() -> None:
    board = Board()
    board.put("apps", "a\ud800", {"name": "x\udfff"})
    assert json.loads(board.whole())["apps"][0]["name"] == "x\udfff"
