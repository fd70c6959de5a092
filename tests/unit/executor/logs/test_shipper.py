"""A slow or absent destination: writers never wait, and every lost line is counted."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from executor.logs.api import LineBatch
from executor.logs.shipper import ITEM_OVERHEAD_BYTES, LineShipper, Unreachable, all_together, each_alone
from tests.support.loglines import make_line

Caplog = pytest.LogCaptureFixture

pytestmark = pytest.mark.unit

SIZE = ITEM_OVERHEAD_BYTES + 1

PAYLOADS = each_alone(lambda line: line.payload)


async def test_everything_is_delivered_before_it_ends(destination: Any) -> None:
    shipper = LineShipper("x", PAYLOADS, destination)
    async with shipper.running():
        for text in "abc":
            shipper.emit(make_line(text))
    assert destination.payloads == [b"a", b"b", b"c"]
    assert (shipper.delivered, shipper.dropped, destination.closed) == (3, 0, True)


async def test_a_slow_destination_costs_only_what_does_not_fit(destination: Any, caplog: Caplog) -> None:
    shipper = LineShipper("x", PAYLOADS, destination, capacity=3 * SIZE)
    destination.gate.clear()
    async with shipper.running():
        shipper.emit(make_line("0"))
        await destination.entered.wait()
        for text in "12345":
            shipper.emit(make_line(text))
        shipper.emit(make_line("b", source_id="other"))
        destination.gate.set()
        await destination.until(4)
    assert destination.payloads == [b"0", b"2", b"3", b"b"]
    assert (shipper.delivered, shipper.dropped) == (4, 3)
    (record,) = [record for record in caplog.records if record.message == "log-sink.dropped"]
    assert vars(record)["data"] == {"sink": "x", "count": 3, "total": 3, "by_instance": {"app-guid/2": 3}}


async def test_a_batch_that_failed_comes_again_without_what_was_sent(
    destination: Any, caplog: Caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.logs.shipper.FIRST_PAUSE_S", 0.001)
    caplog.set_level(logging.INFO)
    shipper = LineShipper("x", PAYLOADS, destination)
    destination.failures = [Unreachable("gone", sent=1), Unreachable("still gone")]
    for text in "abc":
        shipper.emit(make_line(text))
    async with shipper.running():
        await destination.until(3)
        shipper.emit(make_line("d"))
        await destination.until(4)
    assert destination.payloads == [b"a", b"b", b"c", b"d"]
    assert shipper.delivered == 4
    said = [record.message for record in caplog.records]
    assert said == ["log-sink.unreachable", "log-sink.available"]


async def test_an_absent_destination_ends_with_the_cell_and_is_told(destination: Any, caplog: Caplog) -> None:
    shipper = LineShipper("x", PAYLOADS, destination)
    destination.failures = [Unreachable("nobody there")] * 3
    async with shipper.running():
        shipper.emit(make_line("a"))
        await destination.entered.wait()
    assert (shipper.delivered, shipper.dropped, destination.closed) == (0, 1, True)
    assert [record.message for record in caplog.records][-2:] == ["log-sink.gave-up", "log-sink.dropped"]


async def test_a_stuck_destination_does_not_keep_the_cell(destination: Any) -> None:
    shipper = LineShipper("x", PAYLOADS, destination, close_limit_s=0.01)
    destination.gate.clear()
    async with shipper.running():
        shipper.emit(make_line("a"))
        await destination.entered.wait()
        shipper.emit(make_line("b"))
    assert (shipper.delivered, shipper.dropped) == (0, 2)


async def test_refused_lines_are_not_delivered(destination: Any) -> None:
    shipper = LineShipper("x", PAYLOADS, destination)
    destination.refuses = {1}
    async with shipper.running():
        shipper.emit(make_line("a"))
        shipper.emit(make_line("b"))
    assert (shipper.delivered, shipper.dropped) == (1, 1)


async def test_lines_that_came_together_go_together_and_count_one_by_one(destination: Any) -> None:
    shipper = LineShipper("x", all_together(lambda line: line.payload), destination)
    async with shipper.running():
        shipper.emit_batch(LineBatch(make_line("a"), (b"a", b"b"), (1, 2)))
    assert destination.payloads == [b"ab"]
    assert shipper.delivered == 2


async def test_a_destination_that_breaks_ends_neither_the_cell_nor_its_sink(
    destination: Any, caplog: Caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of any kind is logged once with its trace, and the batch is sent again."""
    monkeypatch.setattr("executor.logs.shipper.FIRST_PAUSE_S", 0.001)
    shipper = LineShipper("x", PAYLOADS, destination)
    destination.failures = [RecursionError("too deep"), MemoryError(), ValueError("no")]
    send = destination.send

    async def broken(items: Any) -> Any:
        if destination.failures:
            raise destination.failures.pop(0)
        return await send(items)

    monkeypatch.setattr(destination, "send", broken)
    async with shipper.running():
        shipper.emit(make_line("a"))
        await destination.until(1)
    assert destination.payloads == [b"a"]
    failed = [record for record in caplog.records if record.message == "log-sink.failed"]
    assert [bool(record.exc_info) for record in failed] == [True]
