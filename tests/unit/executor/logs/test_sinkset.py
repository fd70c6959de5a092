"""Sinks that are added and removed while lines come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.engine.spools import Spools
from executor.logs.shipper import LineShipper, each_alone
from executor.logs.sinks import RingSink
from executor.logs.sinkset import SinkSet
from executor.logs.targets import open_target
from tests.support.loglines import make_line
from tests.support.waiting import until
from tests.unit.executor.logs.conftest import ScriptedDestination

pytestmark = pytest.mark.unit


class Destinations:
    """A scripted destination for each target, and the set that sends to them."""

    def __init__(self) -> None:
        self.by_target: dict[str, ScriptedDestination] = {}
        self.ring = RingSink()
        self.sinks = SinkSet(self.open, [self.ring])

    def open(self, target: str) -> LineShipper:
        if target == "bad":
            raise ValueError("no such target")
        destination = self.by_target[target] = ScriptedDestination()
        return LineShipper(target, each_alone(lambda line: line.payload), destination, close_limit_s=0.05)

    def texts(self, target: str) -> list[bytes]:
        return self.by_target[target].payloads


@pytest.fixture
def destinations() -> Destinations:
    return Destinations()


async def test_each_line_goes_to_the_sinks_of_its_time(destinations: Destinations) -> None:
    async with destinations.sinks.running(["a"]):
        for number, targets in enumerate((["a", "b"], ["b"], ["c", "b"], ["a"])):
            destinations.sinks.emit(make_line(str(number)))
            first = destinations.by_target["a"]
            await destinations.sinks.change(targets)
        assert destinations.by_target["a"] is not first
        destinations.sinks.emit(make_line("4"))
    assert first.payloads == [b"0", b"1"]
    assert destinations.texts("b") == [b"1", b"2", b"3"]
    assert destinations.texts("c") == [b"3"]
    assert destinations.texts("a") == [b"4"]
    assert [line.payload for line in destinations.ring.lines()] == [b"0", b"1", b"2", b"3", b"4"]
    assert all(each.closed for each in (first, *destinations.by_target.values()))


async def test_a_file_that_changes_its_name_costs_no_line(tmp_path: Path) -> None:
    """Lines come all the time, also while the set changes."""
    sinks = SinkSet(open_target)
    files = [tmp_path / f"{number}.log" for number in range(5)]
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            sinks.emit(make_line(f"<{written}>"))
            written += 1
            await asyncio.sleep(0)

    def more_than(lines: int) -> Callable[[], bool]:
        return lambda: written > lines

    async with sinks.running([f"file:{files[0]}"]):
        writer = asyncio.create_task(write())
        for file in files[1:]:
            await until(more_than(written + 50))
            await sinks.change([f"file:{file}"])
        writer.cancel()
        await asyncio.wait({writer})
    text = "".join(file.read_text() for file in files)
    places = [text.index(f"<{number}>") for number in range(written)]
    assert places == sorted(places)
    assert text.count("\n") == written


async def test_an_added_sink_begins_when_the_removed_one_has_delivered(destinations: Destinations) -> None:
    """A kill meanwhile would otherwise lose what only the removed one has."""
    async with destinations.sinks.running(["old"]):
        old = destinations.by_target["old"]
        old.gate.clear()
        destinations.sinks.emit(make_line("1"))
        await old.entered.wait()
        changing = asyncio.create_task(destinations.sinks.change(["new"]))
        await until(lambda: "new" in destinations.by_target)
        destinations.sinks.emit(make_line("2"))
        assert not destinations.by_target["new"].entered.is_set()
        old.gate.set()
        await changing
        await destinations.by_target["new"].until(1)
    assert (old.payloads, destinations.texts("new")) == ([b"1"], [b"2"])


async def test_a_removed_sink_that_takes_nothing_is_given_up_and_its_lines_are_counted(
    destinations: Destinations, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = Spools(tmp_path).create("guid", "process", "out", b"{}").deliver()
    async with destinations.sinks.running(["stuck"]):
        destinations.by_target["stuck"].gate.clear()
        destinations.sinks.emit(make_line("1")._replace(delivery=delivery, offset=1))
        await destinations.by_target["stuck"].entered.wait()
        await destinations.sinks.change(["new"])
        assert not delivery.released
        delivery.release()
        assert delivery.released
        destinations.sinks.emit(make_line("2"))
    assert destinations.texts("new") == [b"2"]
    records = {record.message: vars(record)["data"] for record in caplog.records}
    assert records["log-sink.dropped"]["count"] == 1
    assert records["log-sink.gave-up"]["kept"] == 0


async def test_a_target_that_cannot_be_used_changes_nothing(destinations: Destinations) -> None:
    async with destinations.sinks.running(["a"]):
        with pytest.raises(ValueError, match="no such target"):
            await destinations.sinks.change(["b", "bad"])
        destinations.sinks.emit(make_line("1"))
    assert destinations.texts("a") == [b"1"]
    assert destinations.by_target["b"].closed


async def test_the_end_of_the_cell_waits_for_a_change(destinations: Destinations) -> None:
    async with destinations.sinks.running(["old"]):
        destinations.by_target["old"].gate.clear()
        destinations.sinks.emit(make_line("1"))
        changing = asyncio.create_task(destinations.sinks.change(["new"]))
        await until(lambda: "new" in destinations.by_target)
        destinations.sinks.emit(make_line("2"))
        changing.cancel()
        await asyncio.wait({changing})
    assert destinations.texts("new") == [b"2"]
