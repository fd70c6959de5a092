"""Queries of the store use its indexes, and lists do not hold up writes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbs.embedded.decisions.lrps import create
from bbs.embedded.decisions.rows import Rows
from bbs.embedded.store.database import Store, StoreError
from bbs.embedded.store.reader import Reader
from bbs.embedded.store.tables import MANY, Tables
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.locket import Resource, TypeCode
from bbs.models.task import Task
from bbs.wire.mapping import decode, encode, encode_list, to_wire
from bbs.wire.proto import actual_lrp_requests_pb2 as pb

pytestmark = pytest.mark.unit


class Explained:
    """A connection that records the plan of each statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.scans: list[str] = []

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        for row in self._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values):
            if row[-1].startswith("SCAN"):
                self.scans.append(statement)
        return self._connection.execute(statement, values)


KEY = ActualLRPKey(process_guid="p", index=0, domain="d")
LRP = DesiredLRP(process_guid="p", domain="d", root_fs="preloaded:x")
TASK = Task(task_guid="t", domain="d")

SEARCHES: dict[str, Callable[[Tables], object]] = {
    "desired by guid": lambda t: t.find_desired_lrp("p"),
    "desired of a domain": lambda t: t.desired_lrps("d"),
    "desired by guids": lambda t: t.desired_lrps(process_guids=["p", "q"]),
    "desired of apps": lambda t: t.desired_lrps(app_guids=["p", "q"]),
    "desired of one app": lambda t: t.desired_lrps("", (), ["p"]),
    "change desired": lambda t: t.replace_desired_lrp(LRP, LRP, ""),
    "delete desired": lambda t: t.delete_desired_lrp(LRP, ""),
    "actual of a domain": lambda t: t.actual_lrps(domain="d"),
    "actual of a cell": lambda t: t.actual_lrp_records(cell_id="c"),
    "actual of a process": lambda t: t.actual_lrps(process_guid="p"),
    "actual of an index": lambda t: t.rows("p", 0),
    "actual of processes": lambda t: t.actual_lrps(process_guids=["p"] * MANY),
    "count": lambda t: t.count_ordinary("p", "RUNNING"),
    "change actual": lambda t: t.apply(Rows(), create(Rows(), KEY, 1, "")),
    "task": lambda t: t.tasks(domain="d"),
    "tasks of a cell": lambda t: t.task_records(cell_id="c"),
    "change task": lambda t: t.replace_task(TASK, TASK),
    "delete task": lambda t: t.delete_task(TASK),
    "change domain": lambda t: t.upsert_domain("d", None),
    "change resource": lambda t: t.put_resource(Resource(key="k", owner="o", type_code=TypeCode.LOCK), 1),
    "delete resource": lambda t: t.delete_resource("k"),
}


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_query_with_a_filter_reads_no_whole_table(name: str, tmp_path: Path) -> None:
    def work(tables: Tables) -> list[str]:
        explained = Explained(tables.connection)
        tables.connection = explained  # type: ignore[assignment]  # records, then does the same
        SEARCHES[name](tables)
        return explained.scans

    async with Store(tmp_path / "s.db", lambda notices: None) as store:
        assert await store.run(work) == []


@pytest.mark.parametrize("apps", [["app-1"], [f"app-{number}" for number in range(2 * MANY)]])
async def test_processes_of_apps_are_found_by_the_start_of_their_guid(
    apps: list[str], tmp_path: Path
) -> None:
    guids = ["app-0-a", "app-1", "app-1-b", "app-1\U0010ffff", "app-x", "bapp-1"]

    def fill(tables: Tables) -> None:
        for guid in guids:
            tables.insert_desired_lrp(DesiredLRP(process_guid=guid, domain="d"), "")

    async with Store(tmp_path / "s.db", lambda notices: None) as store:
        await store.run(fill)
        found = await store.run(lambda tables: tables.desired_lrps(app_guids=apps))
    wanted = tuple(apps)
    assert [lrp.process_guid for lrp in found] == sorted(guid for guid in guids if guid.startswith(wanted))


async def test_a_write_does_not_wait_for_a_list(tmp_path: Path) -> None:
    listed, released = threading.Event(), threading.Event()

    def slow(tables: Tables) -> list[str]:
        before = tables.fresh_domains(0)
        listed.set()
        assert released.wait(60)
        assert tables.fresh_domains(0) == before, "a list shows one state"
        return before

    async with Store(tmp_path / "s.db", lambda notices: None) as store, Reader(tmp_path / "s.db") as reader:
        await store.run(lambda tables: tables.upsert_domain("first", None))

        async def write() -> None:
            await store.run(lambda tables: listed.wait(60))
            await store.run(lambda tables: tables.upsert_domain("second", None))
            released.set()

        found, _ = await asyncio.gather(reader.read(slow), write())
        assert found == ["first"]
        assert await reader.read(lambda tables: sorted(tables.fresh_domains(0))) == ["first", "second"]


async def test_a_reader_changes_nothing_and_survives_an_error(tmp_path: Path) -> None:
    async with Store(tmp_path / "s.db", lambda notices: None), Reader(tmp_path / "s.db") as reader:
        with pytest.raises(StoreError, match="readonly"):
            await reader.read(lambda tables: tables.upsert_domain("d", None))
        assert await reader.read(lambda tables: tables.fresh_domains(0)) == []
    with pytest.raises(StoreError, match="not open"):
        await reader.read(lambda tables: None)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_a_list_of_encoded_messages_is_an_encoded_list(size: int) -> None:
    (row,) = create(Rows(), KEY, 1, "").after
    rows = [to_wire(row), to_wire(row)]
    rows[1].crash_reason = b"x" * size
    records = [encode(each) for each in rows]
    encoded = encode_list(pb.ActualLRPsResponse, "actual_lrps", records)
    assert decode(pb.ActualLRPsResponse, encoded) == pb.ActualLRPsResponse(actual_lrps=rows)
