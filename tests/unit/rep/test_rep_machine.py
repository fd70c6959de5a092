"""Any history of work, ends, lost calls, stops and evacuation: cell and BBS agree at the end.

The rep's processor, on scripted containers, talks to the embedded BBS' controllers. Calls get lost before or
after they had an effect. Once that is over, a few bulk passes have to put everything right.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bbs.client.api import BBSClient
from bbs.embedded.calls.background import Background
from bbs.embedded.calls.dependencies import Dependencies
from bbs.embedded.controllers.evacuation import EvacuationController
from bbs.embedded.controllers.lrps import LRPController
from bbs.embedded.controllers.tasks import TaskController
from bbs.embedded.decisions.convergence import World, plan_index
from bbs.embedded.decisions.lrps import create
from bbs.embedded.decisions.rows import UNCLAIMED
from bbs.embedded.store.database import Store
from bbs.embedded.store.resources import Registry
from bbs.embedded.store.tables import SCHEMA, Tables
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    Presence,
    RunningData,
)
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskDefinition, TaskState
from executor.model import AllocationRequest, Container, ContainerState, Resources, RunResult
from rep import tags
from rep.ecr import RegistryCredentials
from rep.reconcile.batch import ContainerOperation, batch
from rep.reconcile.processor import Cell, Processor
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder
from tests.support.outcomes import courier_for
from tests.support.thorough import examples

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor

pytestmark = pytest.mark.unit

S = ContainerState
CELL, ELSEWHERE = "cell-1", "cell-2"
SECOND = 1_000_000_000
INDICES = 2
DESIRED = DesiredLRP(
    process_guid="web",
    domain="apps",
    root_fs="docker:///web",
    instances=INDICES,
    action=RunAction(path="/web", user="vcap"),
)
NET = RunningData(net_info=ActualLRPNetInfo(address="192.0.2.9"))
EVACUATE_AFTER = 3
"""Instances the cell was offered: so that not every history begins with its end."""

PASSES = 4
"""Bulk passes that put everything right: claim, run, start refused and stopped, removed."""


class InlineStore:
    """The tables in memory, and transactions at once."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for step in SCHEMA:
            for statement in step:
                self._connection.execute(statement)
        self.tables = Tables(self._connection)

    def close(self) -> None:
        self._connection.close()

    async def run(self, work: Callable[[Tables], Any]) -> Any:
        try:
            return work(self.tables)
        finally:
            self.tables.notices.clear()


class Ticks:
    """Time passes with every look at it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def wall(self) -> int:
        self.now += SECOND
        return self.now

    monotonic = wall


class NoBackground:
    """Auctions are rules of the machine."""

    def start(self, name: str, call: object) -> None: ...


class LossyBBS:
    """A BBS behind a network that loses the next few calls. The names are those of a BBS client."""

    def __init__(self) -> None:
        self.store = InlineStore()
        self.lose = 0
        self.after_effect = False
        self.lost = 0
        self.deps = Dependencies(
            store=cast(Store, self.store),
            reader=cast(Any, None),
            registry=Registry(Ticks()),
            clock=Ticks(),
            auctioneer=cast(Any, SimpleNamespace(request_lrps=print, request_tasks=print)),
            reps=cast(Any, None),
            callbacks=cast(Any, None),
            background=cast(Background, NoBackground()),
        )
        self._lrps, self._evacuation = LRPController(self.deps), EvacuationController(self.deps)
        self._tasks = TaskController(self.deps)

    @property
    def tables(self) -> Tables:
        return self.store.tables

    async def _call(self, work: Any) -> Any:
        if not self.lose:
            return await work
        self.lose -= 1
        self.lost += 1
        if self.after_effect:
            with suppress(BBSError):
                await work
        else:
            work.close()
        raise BBSError(ErrorType.Timeout)

    async def actual_lrps(self, *, cell_id: str) -> list[ActualLRP]:
        return self.tables.actual_lrps(cell_id=cell_id)

    async def tasks(self, *, cell_id: str) -> list[Task]:
        return self.tables.tasks(cell_id=cell_id)

    async def desired_lrp(self, process_guid: str, **_: str) -> DesiredLRP:
        async def get() -> DesiredLRP:
            return self.tables.desired_lrp(process_guid)

        return cast(DesiredLRP, await self._call(get()))

    async def task(self, task_guid: str, **_: str) -> Task:
        async def get() -> Task:
            return self.tables.task(task_guid)

        return cast(Task, await self._call(get()))

    async def claim_actual_lrp(self, key: ActualLRPKey, instance: ActualLRPInstanceKey, **_: str) -> None:
        await self._call(self._lrps.claim(key.process_guid, key.index, instance))

    async def start_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, running: RunningData, **_: Any
    ) -> None:
        await self._call(self._lrps.start(key, instance, running))

    async def crash_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, reason: str, **_: str
    ) -> None:
        await self._call(self._lrps.crash(key, instance, reason))

    async def remove_actual_lrp(self, key: ActualLRPKey, instance: ActualLRPInstanceKey, **_: str) -> None:
        await self._call(self._lrps.remove(key.process_guid, key.index, instance))

    async def remove_evacuating_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, **_: str
    ) -> None:
        await self._call(self._evacuation.remove(key, instance))

    async def evacuate_claimed_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, **_: str
    ) -> bool:
        return bool(await self._call(self._evacuation.claimed(key, instance)))

    async def evacuate_running_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, running: RunningData, **_: Any
    ) -> bool:
        return bool(await self._call(self._evacuation.running(key, instance, running)))

    async def evacuate_stopped_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, **_: str
    ) -> bool:
        return bool(await self._call(self._evacuation.stopped(key, instance)))

    async def evacuate_crashed_actual_lrp(
        self, key: ActualLRPKey, instance: ActualLRPInstanceKey, reason: str, **_: str
    ) -> bool:
        return bool(await self._call(self._evacuation.crashed(key, instance, reason)))

    async def start_task(self, task_guid: str, cell_id: str, **_: str) -> bool:
        return bool(await self._call(self._tasks.start(task_guid, cell_id)))

    async def complete_task(self, task_guid: str, cell_id: str, **said: Any) -> None:
        said.pop("trace_id", None)
        await self._call(self._tasks.complete(task_guid, cell_id, **said))

    async def reject_task(self, task_guid: str, reason: str, **_: str) -> None:
        await self._call(self._tasks.reject(task_guid, reason))


class CellAndBBS(RuleBasedStateMachine):
    """One cell, two indices, two tasks."""

    @staticmethod
    def make_executor() -> FakeExecutor:
        """Given by the test, which has the class from its fixtures."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.executor = self.make_executor()
        self.bbs = LossyBBS()
        self.evacuating = False
        self.offered = 0
        self.removals = Removals()
        self.courier = courier_for(self.bbs, CELL, removals=self.removals)
        self.processor = Processor(
            Cell(cell_id=CELL, zone="z1", evacuating=lambda: self.evacuating),
            self.executor,
            cast(BBSClient, self.bbs),
            RunRequestBuilder(stacks=StackMap({})),
            RegistryCredentials(),
            self.removals,
            self.courier,
        )
        # last: what is opened here is closed by teardown, which only a whole machine gets
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    @initialize()
    def desire(self) -> None:
        tables = self.bbs.tables
        tables.insert_desired_lrp(DESIRED, "")
        for index in range(INDICES):
            key = ActualLRPKey(process_guid="web", index=index, domain="apps")
            tables.apply(tables.rows("web", index), create(tables.rows("web", index), key, 1))
        definition = TaskDefinition(root_fs="docker:///job", action=RunAction(path="/job", user="vcap"))
        for number in range(2):
            self.runner.run(TaskController(self.bbs.deps).desire(f"task-{number}", "apps", definition))

    def operate(self, guid: str) -> None:
        self.executor.calls.clear()
        self.runner.run(self.processor.execute(ContainerOperation(guid)))
        self.obey_stops()

    def obey_stops(self) -> None:
        for name, guid, *_ in [call for call in self.executor.calls if call[0] == "stop"]:
            assert name == "stop"
            self.end_container(guid, RunResult(stopped=True))

    def end_container(self, guid: str, result: RunResult) -> None:
        container = self.executor.store.get(guid)
        if container is not None and container.state is not S.COMPLETED:
            self.executor.put(replace(container, state=S.COMPLETED, run_result=result))

    def bulk_pass(self) -> None:
        self.executor.calls.clear()
        rows, tasks = self.bbs.tables.actual_lrps(cell_id=CELL), self.bbs.tables.tasks(cell_id=CELL)
        for operation in batch(self.executor.containers(), rows, tasks).values():
            self.runner.run(self.processor.execute(operation))
        self.obey_stops()

    def one_of(self, data: st.DataObject) -> Container:
        return data.draw(st.sampled_from(self.executor.containers()))

    @precondition(lambda self: not self.evacuating)
    @rule(index=st.integers(0, INDICES - 1))
    def auction_lrp(self, index: int) -> None:
        row = self.bbs.tables.rows("web", index).ordinary
        if row is None or row.state != UNCLAIMED:
            return
        self.offered += 1
        guid = f"instance-{self.offered}"
        key = ActualLRPKey(process_guid="web", index=index, domain="apps")
        self.executor.allocate([AllocationRequest(guid=guid, tags=tags.lrp_tags(key, guid, None, None))])

    @precondition(lambda self: not self.evacuating)
    @rule(number=st.integers(0, 1))
    def auction_task(self, number: int) -> None:
        guid = f"task-{number}"
        if self.bbs.tables.task(guid).state is TaskState.Pending and guid not in self.executor.store:
            labels = tags.task_tags("apps", None, None)
            self.executor.allocate([AllocationRequest(guid=guid, tags=labels)])

    @precondition(lambda self: self.executor.store)
    @rule(data=st.data())
    def container_event(self, data: st.DataObject) -> None:
        self.operate(self.one_of(data).guid)

    @rule()
    def pass_over_everything(self) -> None:
        self.bulk_pass()

    @precondition(lambda self: self.executor.store)
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        self.advance_container(self.one_of(data))

    @rule()
    def bring_up(self) -> None:
        """What mostly happens: everything finds its place and gets where it is going."""
        if not self.evacuating:
            for number in range(INDICES):
                self.auction_lrp(number)
                self.auction_task(number)
        for _ in range(3):
            for container in self.executor.containers():
                self.operate(container.guid)
                if container.guid in self.executor.store:
                    self.advance_container(self.executor.container(container.guid))

    @precondition(lambda self: self.executor.store)
    @rule(data=st.data(), calls=st.integers(1, 2), after_effect=st.booleans(), stopped=st.booleans())
    def end_unheard(self, data: st.DataObject, calls: int, after_effect: bool, stopped: bool) -> None:
        """A container ends while the BBS is unreachable."""
        guid = self.one_of(data).guid
        self.end_container(guid, RunResult(stopped=stopped, failed=not stopped))
        self.lose_calls(calls, after_effect)
        self.operate(guid)

    def advance_container(self, container: Container) -> None:
        following = {S.INITIALIZING: S.CREATED, S.CREATED: S.RUNNING}
        if container.state in following:
            later = replace(container, state=following[container.state], external_ip="192.0.2.1")
            self.executor.put(later)

    @precondition(lambda self: self.executor.store)
    @rule(
        data=st.data(),
        result=st.sampled_from(
            [
                RunResult(stopped=True),
                RunResult(failed=True, failure_reason="boom"),
                RunResult(failed=True, failure_reason="no image", retryable=True),
                RunResult(),
            ]
        ),
    )
    def end(self, data: st.DataObject, result: RunResult) -> None:
        self.end_container(self.one_of(data).guid, result)

    @rule(calls=st.integers(1, 3), after_effect=st.booleans())
    def lose_calls(self, calls: int, after_effect: bool) -> None:
        self.bbs.lose, self.bbs.after_effect = calls, after_effect

    @rule(present=st.booleans())
    def converge(self, present: bool) -> None:
        self.converge_with({CELL, ELSEWHERE} if present else {ELSEWHERE})

    def converge_with(self, cells: set[str]) -> None:
        tables, now = self.bbs.tables, self.bbs.deps.clock.wall()
        world = World(cells=cells, fresh_domains={"apps"}, now=now)
        for index in range(INDICES):
            rows = tables.rows("web", index)
            key = ActualLRPKey(process_guid="web", index=index, domain="apps")
            for outcome in plan_index(key, rows, DESIRED, world).outcomes:
                tables.apply(rows, outcome)
                rows = outcome.after

    @rule(index=st.integers(0, INDICES - 1))
    def start_elsewhere(self, index: int) -> None:
        self.start_where_nobody_is(index)

    def start_where_nobody_is(self, index: int) -> None:
        row = self.bbs.tables.rows("web", index).ordinary
        if row is not None and row.state == UNCLAIMED:
            key = ActualLRPKey(process_guid="web", index=index, domain="apps")
            instance = ActualLRPInstanceKey(instance_guid=f"other-{index}", cell_id=ELSEWHERE)
            self.runner.run(LRPController(self.bbs.deps).start(key, instance, NET))

    @precondition(lambda self: self.offered >= EVACUATE_AFTER)
    @rule()
    def evacuate(self) -> None:
        self.evacuating = True

    @invariant()
    def a_running_task_of_this_cell_was_taken_by_it(self) -> None:
        for task in self.bbs.tables.tasks(cell_id=CELL):
            assert task.state in (TaskState.Running, TaskState.Pending)

    @invariant()
    def no_index_has_two_ordinary_instances(self) -> None:
        keys = [
            (row.actual_lrp_key.index, row.presence) for row in self.bbs.tables.actual_lrps(domain="apps")
        ]
        assert len(keys) == len(set(keys))

    def teardown(self) -> None:
        try:
            self.put_right()
            self.check_agreement()
        finally:
            self.runner.close()  # also ends what a failed rule left suspended
            self.bbs.store.close()

    def put_right(self) -> None:
        """The network works again, containers live on, and a few passes are made."""
        self.bbs.lose = 0
        self.converge_with({CELL, ELSEWHERE})
        for number in range(2 * PASSES):
            if self.evacuating:
                for index in range(INDICES):
                    self.start_where_nobody_is(index)
            for container in self.executor.containers():
                self.advance_container(container)
                if number == PASSES and container.state is S.RESERVED:
                    self.end_container(
                        container.guid, RunResult(failed=True, failure_reason="expired container")
                    )
                if self.evacuating and container.tags[tags.LIFECYCLE] == tags.TASK_LIFECYCLE:
                    self.end_container(container.guid, RunResult())
            self.bulk_pass()
            self.runner.run(self.deliver())

    async def deliver(self) -> None:
        """The courier sends what waits."""
        async with asyncio.timeout(10), self.courier.running():
            while self.courier.ledger:
                await self.removals.wait(0.1)

    def check_agreement(self) -> None:
        rows = {
            row.actual_lrp_instance_key.instance_guid: row
            for row in self.bbs.tables.actual_lrps(cell_id=CELL)
        }
        tasks = {
            task.task_guid for task in self.bbs.tables.tasks(cell_id=CELL) if task.state is TaskState.Running
        }
        assert self.executor.store.keys() == rows.keys() | tasks
        if self.evacuating:
            assert self.executor.store == {}
        for guid, row in rows.items():
            assert row.presence is Presence.ORDINARY
            assert (self.executor.container(guid).state is S.RUNNING) == (row.state == "RUNNING")


def test_cell_and_bbs_agree_in_the_end(executor: FakeExecutor) -> None:
    class Machine(CellAndBBS):
        @staticmethod
        def make_executor() -> FakeExecutor:
            return type(executor)(Resources(memory_mb=1000, disk_mb=1000, containers=100))

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples(80), stateful_step_count=30, deadline=None)
    )
