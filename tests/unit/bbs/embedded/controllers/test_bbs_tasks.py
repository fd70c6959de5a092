"""Tasks: transition table, cancellation, completion callback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bbs.embedded.decisions import tasks as tt
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskDefinition, TaskState

pytestmark = pytest.mark.unit

NOW = 1000
S, E = TaskState, ErrorType


def task(state: TaskState, rejections: int = 0) -> Task:
    return Task(
        task_guid="t",
        state=state,
        cell_id="c1" if state == S.Running else "",
        rejection_count=rejections,
    )


def start(before: Task) -> Task | None:
    return tt.start(before, "c1", NOW)


def complete(before: Task) -> Task:
    return tt.complete(before, "c1", failed=False, failure_reason="", result="r", now=NOW)


def complete_elsewhere(before: Task) -> Task:
    return tt.complete(before, "c2", failed=False, failure_reason="", result="r", now=NOW)


def fail(before: Task) -> Task:
    return tt.fail(before, "why", NOW)


def reject(before: Task) -> Task:
    return tt.reject(before, "why", NOW)[-1]


def resolving(before: Task) -> Task:
    return tt.resolving(before, NOW)


def delete(before: Task) -> None:
    tt.delete(before)


def no_way(start_: str, end: str) -> BBSError:
    return BBSError(E.InvalidStateTransition, f"Cannot transition from {start_} to {end}")


TABLE: list[tuple[Callable[[Task], Task | None], TaskState, TaskState | BBSError | None]] = [
    (start, S.Pending, S.Running),
    (start, S.Running, None),
    (start, S.Completed, no_way("Completed", "Running")),
    (start, S.Resolving, no_way("Resolving", "Running")),
    (complete, S.Pending, no_way("Pending", "Completed")),
    (complete, S.Running, S.Completed),
    (complete, S.Completed, no_way("Completed", "Completed")),
    (complete, S.Resolving, no_way("Resolving", "Completed")),
    (
        complete_elsewhere,
        S.Running,
        BBSError(E.RunningOnDifferentCell, "Running on cell c1 not c2"),
    ),
    (fail, S.Pending, S.Completed),
    (fail, S.Running, S.Completed),
    (fail, S.Completed, no_way("Completed", "Completed")),
    (fail, S.Resolving, no_way("Resolving", "Completed")),
    (reject, S.Pending, S.Pending),
    (reject, S.Running, S.Pending),
    (reject, S.Completed, BBSError(E.InvalidRequest)),
    (reject, S.Resolving, BBSError(E.InvalidRequest)),
    (resolving, S.Pending, no_way("Pending", "Resolving")),
    (resolving, S.Running, no_way("Running", "Resolving")),
    (resolving, S.Completed, S.Resolving),
    (resolving, S.Resolving, no_way("Resolving", "Resolving")),
    (delete, S.Pending, no_way("Pending", "Resolving")),
    (delete, S.Running, no_way("Running", "Resolving")),
    (delete, S.Completed, no_way("Completed", "Resolving")),
    (delete, S.Resolving, None),
]


@pytest.mark.parametrize(("call", "state", "expected"), TABLE)
def test_table(
    call: Callable[[Task], Task | None], state: TaskState, expected: TaskState | BBSError | None
) -> None:
    if isinstance(expected, BBSError):
        with pytest.raises(BBSError) as refused:
            call(task(state))
        assert refused.value == expected
        return
    after = call(task(state))
    assert (None if after is None else after.state) == expected
    if after is not None:
        assert after.updated_at == NOW
        assert (after.first_completed_at, after.cell_id if after.state == S.Completed else "") == (
            NOW if after.state == S.Completed else 0,
            "",
        )


def test_a_rejected_task_keeps_its_cell() -> None:
    (after,) = tt.reject(task(S.Running), "why", NOW)
    assert (after.cell_id, after.rejection_count, after.rejection_reason) == ("c1", 1, "why")


def test_the_fourth_rejection_is_the_last() -> None:
    pending, ended = tt.reject(task(S.Pending, rejections=3), "why", NOW)
    assert (pending.state, pending.rejection_count) == (S.Pending, 4)
    assert (ended.state, ended.failed, ended.failure_reason) == (S.Completed, True, "why")


async def stored(world: Any) -> list[Task]:
    found: list[Task] = await world.bbs.controllers.deps.store.run(lambda tables: tables.tasks())
    return found


async def finish(world: Any, definition: TaskDefinition) -> None:
    tasks = world.bbs.controllers.tasks
    await tasks.desire("t", "d", definition)
    await tasks.start("t", "c1")
    await tasks.complete("t", "c1", failed=True, failure_reason="no", result="r")
    await world.bbs.settled()


async def test_a_delivered_callback_ends_the_task(world: Any, definition: TaskDefinition) -> None:
    await finish(world, definition)
    [(url, body)] = world.callbacks.bodies
    assert url == "http://example.com/done"
    assert list(json.loads(body)) == [
        "task_guid",
        "failed",
        "failure_reason",
        "result",
        "annotation",
        "created_at",
    ]
    assert await stored(world) == []


async def test_an_undelivered_callback_is_tried_again_after_half_a_minute(
    world: Any, definition: TaskDefinition
) -> None:
    world.callbacks.delivered = False
    await finish(world, definition)
    assert [found.state for found in await stored(world)] == [S.Resolving]
    await world.converge()
    assert len(world.callbacks.bodies) == 1
    world.clock.advance(31)
    world.callbacks.delivered = True
    await world.converge()
    assert len(world.callbacks.bodies) == 2
    assert await stored(world) == []


async def test_without_a_callback_the_task_waits_to_be_resolved(
    world: Any, definition: TaskDefinition
) -> None:
    await finish(world, replace(definition, completion_callback_url=""))
    assert [found.state for found in await stored(world)] == [S.Completed]
    world.clock.advance(121)
    await world.converge()
    assert await stored(world) == []


async def test_cancelling_a_running_task_tells_its_cell(world: Any, definition: TaskDefinition) -> None:
    await world.register("c1")
    tasks = world.bbs.controllers.tasks
    await tasks.desire("t", "d", replace(definition, completion_callback_url=""))
    await tasks.start("t", "c1")
    await tasks.cancel("t", "")
    await world.bbs.settled()
    assert world.reps.calls == [("cancel", "https://c1", "t")]
    [after] = await stored(world)
    assert (after.state, after.failed, after.failure_reason) == (S.Completed, True, "task was cancelled")


async def test_cancelling_a_pending_task_tells_nobody(world: Any, definition: TaskDefinition) -> None:
    await world.register("c1")
    await world.bbs.controllers.tasks.desire("t", "d", definition)
    await world.bbs.controllers.tasks.cancel("t", "")
    await world.bbs.settled()
    assert world.reps.calls == []


async def test_start_is_told_whether_it_is_the_first(world: Any, definition: TaskDefinition) -> None:
    tasks = world.bbs.controllers.tasks
    await tasks.desire("t", "d", definition)
    assert await tasks.start("t", "c1") is True
    assert await tasks.start("t", "c1") is False
