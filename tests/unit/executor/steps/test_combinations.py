"""Serial, parallel, codependent, timeout, try and emit-progress."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bbs.models.actions import (
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    EmptyAction,
    ParallelAction,
    SerialAction,
    TimeoutAction,
    TryAction,
)
from executor.errors import EmptyAction as NoAction
from executor.steps.base import ExceededGracefulShutdownInterval, StepCancelled, StepError
from executor.steps.children import CombinedError, leaves
from executor.steps.codependent import Codependent

pytestmark = pytest.mark.unit


class TestSerial:
    async def test_one_after_another(self, world, start, script):
        step = world.step(SerialAction(actions=(script("a", lasts=1), script("b", lasts=2))))
        running = start(step)
        await step.ready.wait()
        assert (running.elapsed, [spec.path for spec in world.engine.started]) == (1, ["a", "b"])
        assert await running.end() is None
        assert running.elapsed == 3

    async def test_the_first_error_ends_it(self, world, start, script):
        action = SerialAction(actions=(script("a", lasts=1, status=4), script("b")))
        assert await start(world.step(action)).end() == "APP: Exited with status 4"
        assert [spec.path for spec in world.engine.started] == ["a"]

    async def test_nothing_to_do_is_ready_and_well(self, world, start):
        step = world.step(SerialAction())
        assert not step.ready.is_set()
        assert await start(step).end() is None
        assert step.ready.is_set()

    async def test_ready_with_its_last_child_and_not_before_that_one_began(self, world, start, script):
        last = DownloadAction(from_="http://h/x", to=".", user="vcap")
        step = world.step(SerialAction(actions=(script("a", lasts=3), last)))
        assert not step.ready.is_set()
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 3

    async def test_after_an_interrupt_the_rest_is_not_started_though_the_child_ended_well(
        self, world, start, script
    ):
        running = start(world.step(SerialAction(actions=(TryAction(action=script("a")), script("b")))))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() is None
        assert [spec.path for spec in world.engine.started] == ["a"]


class TestParallel:
    async def test_a_failing_child_does_not_stop_the_others_and_errors_keep_the_children_s_order(
        self, world, start, script
    ):
        action = ParallelAction(
            actions=(script("a", lasts=3, status=1), script("b", lasts=1, status=2), script("c", lasts=2))
        )
        running = start(world.step(action))
        assert await running.end() == "APP: Exited with status 1; APP: Exited with status 2"
        assert running.elapsed == 3

    async def test_ready_when_all_are(self, world, start, script):
        step = world.step(
            ParallelAction(actions=(script("a", start_takes=2, lasts=9), script("b", start_takes=1, lasts=9)))
        )
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 2

    async def test_without_children_ready_at_once(self, world, start):
        step = world.step(ParallelAction())
        assert await start(step).end() is None
        assert step.ready.is_set()

    async def test_an_interrupt_reaches_every_child_and_all_hidden_is_an_empty_text(
        self, world, start, script
    ):
        running = start(world.step(ParallelAction(actions=(script("a", term=1), script("b", term=2)))))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == ""
        assert running.elapsed == 3
        errors = [type(error) for error in leaves(running.task.exception())]
        assert errors == [StepCancelled, StepCancelled]

    async def test_combinations_nest_without_brackets(self, world, start, script):
        inner = ParallelAction(actions=(script("b", lasts=1, status=2), script("c", lasts=1, status=3)))
        action = ParallelAction(actions=(script("a", lasts=1, status=1), inner))
        assert await start(world.step(action)).end() == (
            "APP: Exited with status 1; APP: Exited with status 2; APP: Exited with status 3"
        )


class TestCodependent:
    async def test_a_clean_exit_is_an_error_and_stops_the_others(self, world, start, script):
        running = start(world.step(CodependentAction(actions=(script("a", lasts=2), script("b", term=1)))))
        assert await running.end() == "Codependent step exited"
        assert running.elapsed == 3
        assert world.engine.processes["b"].signals == [(2, "SIGTERM")]

    async def test_errors_in_the_order_of_the_ends(self, world, start, script):
        action = CodependentAction(
            actions=(script("a", term=None, kill=None), script("b", lasts=1, status=2), script("c"))
        )
        assert await start(world.step(action)).end() == "APP: Exited with status 2; process did not exit"

    async def test_ends_of_one_moment_keep_their_order(self, world, start, script):
        action = CodependentAction(actions=(script("b", lasts=1, status=2), script("a", lasts=1, status=1)))
        assert await start(world.step(action)).end() == (
            "APP: Exited with status 2; APP: Exited with status 1"
        )

    async def test_siblings_are_interrupted_once(self, world, start, script):
        children = [_Counting(), _Counting()]
        first = world.step(script("a", lasts=1, status=1))
        second = world.step(script("b", lasts=2, status=1))
        running = start(Codependent([first, second, *children], error_on_exit=True))
        await running.end()
        assert [child.interrupts for child in children] == [1, 1]

    async def test_an_interrupt_from_outside_is_forwarded_once(self, world, start, script):
        child = _Counting()
        failing = world.step(script("a", lasts=1, status=1))
        running = start(Codependent([failing, child], error_on_exit=True))
        await asyncio.sleep(2)
        for _ in range(3):
            running.interrupt()
            await asyncio.sleep(0.1)
        await running.end()
        assert child.interrupts == 2

    async def test_interrupted_all_hidden_is_an_empty_text(self, world, start, script):
        running = start(world.step(CodependentAction(actions=(script("a"), script("b", term=None)))))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == ""
        errors = [type(error) for error in leaves(running.task.exception())]
        assert errors == [StepCancelled, ExceededGracefulShutdownInterval]

    async def test_without_error_on_exit_a_clean_end_leaves_the_others_running(self, world, start, script):
        steps = [world.step(script("a", lasts=1)), world.step(script("b", lasts=5))]
        running = start(Codependent(steps, error_on_exit=False))
        assert await running.end() is None
        assert running.elapsed == 5

    async def test_cancel_others_on_exit_stops_them_without_an_error_of_its_own(self, world, start, script):
        steps = [world.step(script("a", lasts=1)), world.step(script("b", term=1))]
        running = start(Codependent(steps, error_on_exit=False, cancel_others_on_exit=True))
        assert await running.end() == ""
        assert running.elapsed == 2


class _Counting:
    """Counts interrupts and ends 5 s after the first."""

    def __init__(self):
        self.ready = asyncio.Event()
        self.interrupts = 0

    async def run(self):
        end = None
        loop = asyncio.get_running_loop()
        while end is None or loop.time() < end:
            try:
                await asyncio.sleep(3600 if end is None else end - loop.time())
            except asyncio.CancelledError:
                self.interrupts += 1
                end = end or loop.time() + 5


class TestTimeout:
    async def test_a_child_in_time_is_the_result(self, world, start, script):
        running = start(world.step(TimeoutAction(action=script("a", lasts=1, status=3), timeout_ms=2000)))
        assert await running.end() == "APP: Exited with status 3"
        assert (
            await start(world.step(TimeoutAction(action=script("b", lasts=1), timeout_ms=2000))).end() is None
        )

    @pytest.mark.parametrize(
        ("timeout_ms", "text"), [(10, "10ms"), (1500, "1.5s"), (60_000, "1m0s"), (3_600_000, "1h0m0s")]
    )
    async def test_time_over(self, world, start, script, timeout_ms, text):
        action = TimeoutAction(action=script("a"), timeout_ms=timeout_ms)
        running = start(world.step(action))
        assert await running.end() == f"exceeded {text} timeout"
        assert running.task.exception().emittable

    async def test_a_stubborn_child_adds_its_interval(self, world, start, script):
        running = start(world.step(TimeoutAction(action=script("a", term=None), timeout_ms=2000)))
        assert await running.end() == "exceeded 2s timeout"
        assert running.elapsed == 12

    async def test_a_child_that_ends_well_after_the_timer_is_late_all_the_same(self, world, start, script):
        action = TimeoutAction(action=TryAction(action=script("a")), timeout_ms=2000)
        assert await start(world.step(action)).end() == "exceeded 2s timeout"

    async def test_the_child_s_message_is_appended(self, world, start, script):
        inner = TimeoutAction(action=script("a", term=3), timeout_ms=1500)
        assert await start(world.step(TimeoutAction(action=inner, timeout_ms=2000))).end() == (
            "exceeded 2s timeout; exceeded 1.5s timeout"
        )

    async def test_an_interrupt_is_forwarded(self, world, start, script):
        running = start(world.step(TimeoutAction(action=script("a", term=1), timeout_ms=60_000)))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == "cancelled"
        assert running.elapsed == 2

    async def test_the_timer_does_not_matter_while_the_child_is_ending_after_an_interrupt(
        self, world, start, script
    ):
        running = start(world.step(TimeoutAction(action=script("a", term=8), timeout_ms=3000)))
        await asyncio.sleep(1)
        running.interrupt()
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == "cancelled"
        assert running.elapsed == 9

    async def test_an_interrupt_while_the_child_is_ending_after_the_timer_changes_nothing(
        self, world, start, script
    ):
        running = start(world.step(TimeoutAction(action=script("a", term=8), timeout_ms=3000)))
        await asyncio.sleep(5)
        running.interrupt()
        assert await running.end() == "exceeded 3s timeout"
        assert running.elapsed == 11


class TestTry:
    async def test_swallows_the_error(self, world, start, script):
        assert await start(world.step(TryAction(action=script("a", lasts=1, status=1)))).end() is None

    async def test_swallows_a_start_error(self, world, start, script):
        assert await start(world.step(TryAction(action=script("a", start_error="no user")))).end() is None

    async def test_interrupted_waits_and_ends_well(self, world, start, script):
        running = start(world.step(TryAction(action=script("a", term=None))))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() is None
        assert running.elapsed == 11


MESSAGES = {
    "start_message": "begin",
    "success_message": "done",
    "failure_message_prefix": "failed",
    "log_source": "PROGRESS",
}


class TestEmitProgress:
    async def test_success(self, world, start, script):
        step = world.step(EmitProgressAction(action=script("a", lasts=1), **MESSAGES))
        assert await start(step).end() is None
        assert world.log.shown == [
            ("OUT", "PROGRESS", "begin"),
            ("OUT", "APP", "Exit status 0"),
            ("OUT", "PROGRESS", "done"),
        ]

    async def test_failure_with_a_message(self, world, start, script):
        step = world.step(EmitProgressAction(action=script("a", lasts=1, status=1), **MESSAGES))
        assert await start(step).end() == "APP: Exited with status 1"
        assert world.log.shown[-1] == ("ERR", "PROGRESS", "failed: APP: Exited with status 1")

    async def test_failure_without_a_message_for_the_owner(self, world, start, script):
        step = world.step(EmitProgressAction(action=script("a", start_error="no user"), **MESSAGES))
        assert await start(step).end() == "no user"
        assert world.log.shown[-1] == ("ERR", "PROGRESS", "failed")

    async def test_without_texts_nothing_is_said(self, world, start, script):
        quiet = replace(script("a", lasts=1, status=1), suppress_log_output=True)
        assert await start(world.step(EmitProgressAction(action=quiet))).end() is not None
        assert world.log.shown == []

    async def test_interrupted(self, world, start, script):
        running = start(world.step(EmitProgressAction(action=script("a"), **MESSAGES)))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == "cancelled"
        assert world.log.shown[-1] == ("ERR", "PROGRESS", "failed")


class TestLogSources:
    @pytest.mark.parametrize("wrapper", [TryAction, TimeoutAction])
    async def test_handed_down_by_wrappers(self, world, start, script, wrapper):
        child = replace(script("a", lasts=1), log_source="")
        fields = {"timeout_ms": 5000} if wrapper is TimeoutAction else {}
        await start(world.step(wrapper(action=child, log_source="OUTER", **fields))).end()
        assert world.log.shown == [("OUT", "OUTER", "Exit status 0")]

    @pytest.mark.parametrize("wrapper", [ParallelAction, CodependentAction])
    async def test_handed_down_side_by_side(self, world, start, script, wrapper):
        child = replace(script("a", lasts=1), log_source="")
        await start(world.step(wrapper(actions=(child,), log_source="OUTER"))).end()
        assert world.log.shown == [("OUT", "OUTER", "Exit status 0")]

    async def test_not_handed_down_by_serial_and_emit_progress(self, world, start, script):
        child = replace(script("a", lasts=1), log_source="")
        serial = SerialAction(actions=(child,), log_source="SERIAL")
        action = TryAction(action=EmitProgressAction(action=serial, log_source="PROGRESS"), log_source="TRY")
        await start(world.step(action)).end()
        assert world.log.shown == [("OUT", "TRY", "Exit status 0")]


def test_combined_texts():
    errors = [
        StepError("a"),
        StepCancelled(),
        StepError(""),
        CombinedError([StepError("b"), StepCancelled()]),
    ]
    assert str(CombinedError(errors)) == "a; b"


@pytest.mark.parametrize("action", [EmptyAction(), TryAction(), SerialAction(actions=(EmptyAction(),))])
async def test_an_action_that_is_none_is_refused_when_the_tree_is_built(world, action):
    with pytest.raises(NoAction, match="container cannot have empty action"):
        world.step(action)


async def test_the_story_tells_every_step_with_its_path(world, start, script):
    action = CodependentAction(
        actions=(script("a", lasts=2, status=3), TryAction(action=script("b", term=1)))
    )
    running = start(world.step(action))
    await running.end()
    ends = [
        (event.path, event.outcome.value, event.reason, round(event.seconds, 3), event.facts.exit_status)
        for event in world.trace.events
        if hasattr(event, "outcome")
    ]
    reason = "APP: Exited with status 3; Codependent step exited"
    assert ends == [
        ("action/codependent[0]/run", "failed", "APP: Exited with status 3", 2, 3),
        ("action/codependent[1]/try/run", "cancelled", "cancelled", 3, 143),
        ("action/codependent[1]/try", "succeeded", "", 3, None),
        ("action/codependent", "failed", reason, 3, None),
    ]
    assert [error.path for error in leaves(running.task.exception())] == ["action/codependent[0]/run", ""]
    assert running.task.exception().path == "action/codependent"
    assert running.task.exception().guid == "guid"
