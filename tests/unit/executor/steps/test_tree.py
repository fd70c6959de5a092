"""The tree of a container."""

from __future__ import annotations

import asyncio

import pytest

from bbs.models.actions import RunAction, TryAction
from bbs.models.workload import Check, CheckDefinition, Sidecar, TCPCheck
from executor.containment import INTERNAL_ERROR
from executor.errors import EmptyAction, EngineError
from executor.model import RunInfo
from executor.steps.tree import build_container_step

pytestmark = pytest.mark.unit

APP = RunAction(path="app", user="vcap", log_source="APP")


async def test_setup_then_hook_then_action(world, start, script):
    script("setup", lasts=1)
    script("hook", lasts=1, stdout=b"quiet")
    step = build_container_step(
        RunInfo(setup=RunAction(path="setup"), action=APP),
        world.context(post_setup_hook=("hook", "-v"), post_setup_user="root"),
    )
    running = start(step)
    await step.ready.wait()
    assert running.elapsed == 2
    assert [(spec.path, spec.args, spec.user) for spec in world.engine.started] == [
        ("setup", (), "root"),
        ("hook", ("-v",), "root"),
        ("app", (), "vcap"),
    ]
    assert world.setup_ends == [True]
    assert world.log.texts == ["Exit status 0"]


async def test_a_failed_setup_ends_it(world, start, script):
    setup = script("setup", lasts=1, status=2)
    assert await start(build_container_step(RunInfo(setup=setup, action=APP), world.context())).end() == (
        "APP: Exited with status 2"
    )
    assert world.setup_ends == [False]


async def test_a_failed_hook_speaks_for_the_container(world, start, script):
    script("hook", lasts=1, status=4)
    step = build_container_step(RunInfo(action=APP), world.context(post_setup_hook=("hook",)))
    assert await start(step).end() == "LOG: Exited with status 4"
    assert world.log.texts == []


async def test_interrupted_during_setup_ends_well_at_once_while_setup_goes_on_ending(world, start, script):
    context = world.context(post_setup_hook=("hook",))
    step = build_container_step(RunInfo(setup=script("setup", term=5), action=APP), context)
    running = start(step)
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() is None
    assert running.elapsed == 1
    assert world.setup_ends == [True]
    await context.lingering.settle()
    assert running.elapsed == 6
    assert [spec.path for spec in world.engine.started] == ["setup"]


async def test_a_bare_action_is_the_whole_of_it(world, start, script):
    script("app", lasts=3)
    assert await start(build_container_step(RunInfo(action=APP), world.context())).end() is None
    running = start(build_container_step(RunInfo(action=APP), world.context()))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() == "cancelled"


async def test_with_a_monitor_a_clean_exit_goes_unnoticed(world, start, script):
    script("app", lasts=1)
    step = build_container_step(RunInfo(action=APP, monitor=RunAction(path="probe")), world.context())
    running = start(step)
    await asyncio.sleep(100)
    assert not running.task.done()


async def test_a_failed_app_stops_its_monitor(world, start, script):
    script("app", lasts=1, status=1)
    step = build_container_step(RunInfo(action=APP, monitor=RunAction(path="probe")), world.context())
    running = start(step)
    assert await running.end() == "APP: Exited with status 1"
    assert running.elapsed == 1


async def test_a_sidecar_s_clean_exit_ends_the_instance(world, start, script):
    sidecars = (Sidecar(action=script("side", lasts=2)),)
    running = start(build_container_step(RunInfo(action=APP, sidecars=sidecars), world.context()))
    assert await running.end() == ""
    assert world.engine.processes["app"].signals == [(2, "SIGTERM")]


async def test_ready_when_sidecars_are(world, start, script):
    sidecars = (Sidecar(action=script("side", start_takes=2)), Sidecar(action=script("two", start_takes=3)))
    step = build_container_step(RunInfo(action=APP, sidecars=sidecars), world.context())
    running = start(step)
    await step.ready.wait()
    assert running.elapsed == 3


async def test_a_leftover_that_fails_is_logged(world, start, script, caplog):
    caplog.set_level("INFO")
    context = world.context()
    setup = script("setup", term=None, kill=None)
    running = start(build_container_step(RunInfo(setup=setup, action=APP), context))
    await asyncio.sleep(1)
    running.interrupt()
    await running.end()
    await context.lingering.settle()
    await asyncio.sleep(0)
    assert [record.data for record in caplog.records if record.message == "leftover-step.failed"] == [
        {"error": "process did not exit"}
    ]


async def test_an_engine_that_cannot_say_whether_memory_ran_out(world, start, script, monkeypatch):
    async def unknown(container):
        raise EngineError("away")

    monkeypatch.setattr(world.engine, "out_of_memory", unknown)
    assert await start(world.step(script("app", lasts=1, status=137))).end() == (
        "APP: Exited with status 137"
    )


async def test_a_defect_is_told_and_not_taken_for_a_failure(world, start, script, monkeypatch):
    async def broken(*args):
        raise RuntimeError("a defect")

    monkeypatch.setattr(world.engine, "start_process", broken)
    running = start(world.step(TryAction(action=APP)))
    assert await running.end() == "a defect"
    assert isinstance(running.task.exception(), RuntimeError)
    assert world.trace.events[-1].reason == INTERNAL_ERROR


async def test_no_action_is_refused(world):
    with pytest.raises(EmptyAction):
        build_container_step(RunInfo(), world.context())
    with pytest.raises(EmptyAction):
        build_container_step(RunInfo(action=APP, monitor=TryAction()), world.context())


async def test_paths_of_the_parts(world, start, script):
    script("app", lasts=1, status=1)
    info = RunInfo(
        setup=script("setup", lasts=0),
        action=APP,
        sidecars=(Sidecar(action=RunAction(path="side")),),
        check_definition=CheckDefinition(
            checks=(Check(tcp_check=TCPCheck(port=0)),),
            readiness_checks=(Check(tcp_check=TCPCheck(port=1)),),
        ),
    )
    await start(build_container_step(info, world.context())).end()
    begun = [event.path for event in world.trace.events if not hasattr(event, "outcome")]
    assert begun == ["setup/run", "action/run", "sidecar[0]/run", "monitor", "readiness"]
