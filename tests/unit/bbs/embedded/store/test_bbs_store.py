"""The store: durability, atomicity, order."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bbs.embedded.events.hub import Notice
from bbs.embedded.store.database import Store, StoreError
from bbs.embedded.store.tables import Tables
from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo, RunningData
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import DesiredLRPCreatedEvent
from bbs.models.task import TaskDefinition
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


class Heard:
    """Notices of commits, in order."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def __call__(self, notices: Sequence[Notice]) -> None:
        self.notices += notices


async def test_everything_survives_a_restart(
    open_world: Any, web_lrp: DesiredLRP, definition: TaskDefinition
) -> None:
    key = ActualLRPKey(process_guid="web", index=0, domain="apps")
    instance = ActualLRPInstanceKey(instance_guid="a", cell_id="c1")

    def everything(tables: Tables) -> tuple[Any, ...]:
        return (
            tables.desired_lrps(),
            tables.actual_lrps(),
            tables.tasks(),
            tables.fresh_domains(2**62),
        )

    async with open_world() as world:
        await world.bbs.controllers.desired.desire(web_lrp, "")
        await world.bbs.controllers.lrps.start(
            key, instance, RunningData(net_info=ActualLRPNetInfo(address="10.0.0.1"))
        )
        await world.bbs.controllers.tasks.desire("t", "apps", definition)
        await world.freshen("apps")
        before = await world.bbs.controllers.deps.store.run(everything)
    async with open_world() as world:
        assert await world.bbs.controllers.deps.store.run(everything) == before
    desired, actual, tasks, domains = before
    assert (len(desired), len(actual), len(tasks), domains) == (1, 2, 1, ["apps"])


async def test_work_that_raises_leaves_nothing_behind_and_tells_nobody(
    tmp_path: Path, web_lrp: DesiredLRP
) -> None:
    heard = Heard()

    def half(tables: Tables) -> None:
        tables.insert_desired_lrp(web_lrp, "")
        raise ValueError("half way")

    async with Store(tmp_path / "s.db", heard) as store:
        with pytest.raises(ValueError, match="half way"):
            await store.run(half)
        assert await store.run(lambda tables: tables.desired_lrps()) == []
    assert heard.notices == []


async def test_concurrent_work_is_told_in_the_order_it_was_done(tmp_path: Path, web_lrp: DesiredLRP) -> None:
    heard = Heard()
    lrps = [replace(web_lrp, process_guid=f"web-{number}") for number in range(300)]

    async with Store(tmp_path / "s.db", heard) as store:
        await asyncio.gather(
            *(store.run(partial(Tables.insert_desired_lrp, lrp=lrp, trace_id="")) for lrp in lrps)
        )
        assert len(await store.run(lambda tables: tables.desired_lrps())) == 300
    assert [notice.event for notice in heard.notices] == [
        DesiredLRPCreatedEvent(desired_lrp=lrp) for lrp in lrps
    ]


async def test_one_piece_of_a_group_may_fail_alone(tmp_path: Path, web_lrp: DesiredLRP) -> None:
    async with Store(tmp_path / "s.db", Heard()) as store:
        results = await asyncio.gather(
            *(store.run(lambda tables: tables.insert_desired_lrp(web_lrp, "")) for _ in range(3)),
            return_exceptions=True,
        )
    assert results == [None, *2 * [BBSError(ErrorType.ResourceExists)]]


async def test_a_caller_who_gave_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    async with Store(tmp_path / "s.db", Heard()) as store:
        abandoned = asyncio.ensure_future(store.run(lambda tables: tables.tasks()))
        await asyncio.sleep(0)
        abandoned.cancel()
        assert await store.run(lambda tables: tables.tasks()) == []


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match=r"s\.db was written by a newer version \(schema 99"):
        async with Store(path, Heard()):
            pass


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"cannot open .*s\.db"):
        async with Store(path, Heard()):
            pass


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db", Heard())
    with pytest.raises(StoreError, match="is not open"):
        await store.run(lambda tables: tables.tasks())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["a-1", "a-2", "b-1"]),
        ({"domain": "d1"}, ["a-1", "b-1"]),
        ({"process_guids": ("a-1", "a-2")}, ["a-1", "a-2"]),
        ({"app_guids": ("a",)}, ["a-1", "a-2"]),
        ({"app_guids": ("a-2", "b")}, ["a-2", "b-1"]),
        ({"domain": "d1", "app_guids": ("a",)}, ["a-1"]),
        ({"app_guids": ("%",)}, []),
    ],
)
async def test_filters_of_desired_lrps(
    tmp_path: Path, web_lrp: DesiredLRP, filters: dict[str, Any], expected: list[str]
) -> None:
    def work(tables: Tables) -> list[DesiredLRP]:
        for guid, domain in (("a-1", "d1"), ("a-2", "d2"), ("b-1", "d1")):
            tables.insert_desired_lrp(replace(web_lrp, process_guid=guid, domain=domain), "")
        return tables.desired_lrps(**filters)

    async with Store(tmp_path / "s.db", Heard()) as store:
        assert sorted(lrp.process_guid for lrp in await store.run(work)) == expected


async def test_a_full_disk_fails_everyone_in_the_group_and_the_store_goes_on(
    tmp_path: Path, web_lrp: DesiredLRP
) -> None:
    def fill(tables: Tables) -> None:
        (pages,) = tables.connection.execute("PRAGMA page_count").fetchone()
        tables.connection.execute(f"PRAGMA max_page_count={pages}")
        tables.insert_desired_lrp(replace(web_lrp, annotation="x" * 10**6), "")

    heard = Heard()
    async with Store(tmp_path / "s.db", heard) as store:
        with pytest.raises(StoreError, match="full"):
            await store.run(fill)
        await store.run(lambda tables: tables.connection.execute("PRAGMA max_page_count=1000000").fetchone())
        assert await store.run(lambda tables: tables.desired_lrps()) == []
        await store.run(lambda tables: tables.insert_desired_lrp(web_lrp, ""))
    assert len(heard.notices) == 1


class Refusing(sqlite3.Connection):
    """A connection on which chosen statements fail."""

    refused: frozenset[str] = frozenset()

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql in Refusing.refused:
            raise sqlite3.OperationalError(f"disk I/O error at {sql}")
        return super().execute(sql, *args)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> type[Refusing]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Refusing))
    monkeypatch.setattr(Refusing, "refused", frozenset())
    return Refusing


@pytest.mark.parametrize(
    "refused", [{"COMMIT"}, {"COMMIT", "ROLLBACK"}, {"BEGIN IMMEDIATE"}, {"SAVEPOINT job"}]
)
async def test_a_store_whose_statements_fail_refuses_its_work_and_goes_on(
    tmp_path: Path, web_lrp: DesiredLRP, refusing: type[Refusing], refused: set[str]
) -> None:
    """ROLLBACK fails too: callers get an error, none hangs, and the next ones are served."""
    heard = Heard()
    async with Store(tmp_path / "s.db", heard) as store, asyncio.timeout(PATIENCE_S):
        refusing.refused = frozenset(refused)
        for _ in range(2):
            with pytest.raises(StoreError, match="disk I/O error"):
                await store.run(lambda tables: tables.insert_desired_lrp(web_lrp, ""))
        refusing.refused = frozenset()
        assert await store.run(lambda tables: tables.desired_lrps()) == []
    assert heard.notices == []


@pytest.mark.parametrize(
    "error",
    [
        RecursionError(),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, ""),
        OSError(24, "x"),
        StopIteration(),
        SystemExit(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_work_raises_its_caller_gets_an_error_and_the_store_goes_on(
    tmp_path: Path, error: BaseException
) -> None:
    def work(tables: Tables) -> None:
        raise error

    async with Store(tmp_path / "s.db", Heard()) as store, asyncio.timeout(PATIENCE_S):
        with pytest.raises((type(error), RuntimeError, StoreError)):
            await store.run(work)
        assert await store.run(lambda tables: tables.tasks()) == []


async def test_work_after_a_lost_transaction_is_done(tmp_path: Path, web_lrp: DesiredLRP) -> None:
    """Work that ends the transaction and raises something else than a database error hangs no caller."""

    def work(tables: Tables) -> None:
        tables.connection.execute("ROLLBACK")
        raise ValueError("lost")

    async with Store(tmp_path / "s.db", Heard()) as store, asyncio.timeout(PATIENCE_S):
        with pytest.raises(StoreError, match="lost"):
            await store.run(work)
        await store.run(lambda tables: tables.insert_desired_lrp(web_lrp, ""))
        assert len(await store.run(lambda tables: tables.desired_lrps())) == 1


async def test_a_failing_subscriber_does_not_keep_callers_waiting(
    tmp_path: Path, web_lrp: DesiredLRP
) -> None:
    def publish(notices: Sequence[Notice]) -> None:
        raise UnicodeEncodeError("utf-8", "", 0, 1, "")

    async with Store(tmp_path / "s.db", publish) as store, asyncio.timeout(PATIENCE_S):
        await store.run(lambda tables: tables.insert_desired_lrp(web_lrp, ""))
        assert len(await store.run(lambda tables: tables.desired_lrps())) == 1


async def test_work_during_the_exit_is_refused_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db", Heard())
    async with asyncio.timeout(PATIENCE_S):
        await store.__aenter__()
        closing = asyncio.create_task(store.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="is not open"):
            await store.run(lambda tables: tables.tasks())
        await closing


@pytest.mark.parametrize("times", [1, 2])
async def test_an_exit_that_is_cancelled_still_ends_the_thread(tmp_path: Path, times: int) -> None:
    store = Store(tmp_path / "s.db", Heard())
    await store.__aenter__()
    queued = asyncio.ensure_future(store.run(lambda tables: tables.tasks()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.__aexit__(None, None, None))
    for _ in range(times):
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert await queued == []
    assert not any(thread.name == "bbs-store" for thread in threading.enumerate())


@pytest.mark.parametrize("before", [0o644, None])
async def test_only_the_owner_may_read_the_state(tmp_path: Path, before: int | None) -> None:
    """Database, write-ahead log and index are 0600, also where an earlier version left them readable."""
    path = tmp_path / "s.db"
    if before is not None:
        path.touch(before)
        path.chmod(before)
    umask = os.umask(0)
    try:
        async with Store(path, Heard()) as store:
            await store.run(lambda tables: tables.upsert_domain("d", None))
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(umask)
    assert modes == {"s.db": 0o600, "s.db-wal": 0o600, "s.db-shm": 0o600}
