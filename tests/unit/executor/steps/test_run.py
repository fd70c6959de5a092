"""Run: requests to the engine, ends of the process, log lines and failure texts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bbs.models.actions import ResourceLimits, TryAction
from bbs.models.common import EnvironmentVariable
from executor.engine.api import EngineContainer
from executor.model import Container, LogConfig, PortMapping
from executor.steps.base import EmittableError, ExceededGracefulShutdownInterval
from executor.steps.run import Exit, RunOptions, exit_error, exit_log_line

pytestmark = pytest.mark.unit


async def test_exit_0_succeeds_and_is_logged_after_the_last_incomplete_line(world, start, script):
    action = script("app", lasts=1, stdout=b"hello\ntail")
    assert await start(world.step(action)).end() is None
    assert world.log.shown == [("OUT", "APP", "hello"), ("OUT", "APP", "tailExit status 0")]


async def test_exit_status_fails_with_the_source_in_the_text(world, start, script):
    running = start(world.step(script("app", lasts=1, status=3, stderr=b"oops\n")))
    assert await running.end() == "APP: Exited with status 3"
    error = running.task.exception()
    assert isinstance(error, EmittableError)
    assert error.path == "action/run"
    assert world.log.shown == [("ERR", "APP", "oops"), ("OUT", "APP", "Exit status 3")]


@pytest.mark.parametrize(
    ("config", "source", "name"),
    [
        (LogConfig(guid="g", source_name="CELL"), "APP", "APP"),
        (LogConfig(guid="g", source_name="CELL"), "", "CELL"),
        (LogConfig(guid="g"), "", "LOG"),
        (LogConfig(guid="", source_name="CELL"), "APP", "LOG"),
    ],
)
async def test_effective_log_source(world, start, script, config, source, name):
    world.config = config
    action = replace(script("app", lasts=1, status=3), log_source=source)
    assert await start(world.step(action)).end() == f"{name}: Exited with status 3"


async def test_out_of_memory_marks_log_and_error(world, start, script):
    world.engine.oom = True
    assert await start(world.step(script("app", lasts=1, status=137))).end() == (
        "APP: Exited with status 137 (out of memory)"
    )
    assert world.log.texts == ["Exit status 137 (out of memory)"]


async def test_out_of_memory_does_not_touch_a_clean_exit(world, start, script):
    world.engine.oom = True
    assert await start(world.step(script("app", lasts=1))).end() is None
    assert world.log.texts == ["Exit status 0"]


async def test_start_failure_is_the_engine_s_text(world, start, script):
    running = start(world.step(script("app", start_error="unable to find user nobodyhere")))
    assert await running.end() == "unable to find user nobodyhere"
    assert not running.task.exception().emittable
    assert world.log.shown == [("OUT", "APP", "failed-creating-process: unable to find user nobodyhere")]


async def test_wait_failure_is_the_engine_s_text(world, start, script):
    assert await start(world.step(script("app", lasts=1, wait_error="exit file lost"))).end() == (
        "exit file lost"
    )


async def test_ready_once_started(world, start, script):
    step = world.step(script("app", start_takes=2))
    running = start(step)
    await step.ready.wait()
    assert running.elapsed == 2
    assert "app" in world.engine.processes


async def test_interrupt_while_starting_cancels_at_once(world, start, script):
    running = start(world.step(script("app", start_takes=5)))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() == "cancelled"
    assert running.elapsed == 1
    assert world.log.texts == []


async def test_interrupt_sends_term_and_ends_cancelled_whatever_the_status(world, start, script):
    running = start(world.step(script("app", term=3, term_status=0)))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() == "cancelled"
    assert running.elapsed == 4
    assert world.engine.processes["app"].signals == [(1, "SIGTERM")]
    assert world.log.texts == ["Exit status 0"]


async def test_a_process_deaf_to_term_is_killed_after_the_interval(world, start, script):
    running = start(world.step(script("app", term=None), graceful_shutdown_interval=10.0))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() == "exceeded graceful shutdown interval"
    assert world.engine.processes["app"].signals == [(1, "SIGTERM"), (11, "SIGKILL")]
    assert world.log.texts == ["Exit status 137 (exceeded 10s graceful shutdown interval)"]


async def test_a_process_deaf_to_kill_is_given_up_after_a_second(world, start, script):
    running = start(world.step(script("app", term=None, kill=None)))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() == "process did not exit"
    assert running.elapsed == 12
    assert world.log.texts == []


async def test_later_interrupts_change_nothing(world, start, script):
    running = start(world.step(script("app", term=None, kill=0.5)))
    for _ in range(11):
        await asyncio.sleep(1)
        running.interrupt()
    assert await running.end() == "exceeded graceful shutdown interval"
    assert running.elapsed == 11.5
    assert world.engine.processes["app"].signals == [(1, "SIGTERM"), (11, "SIGKILL")]


async def test_a_signal_that_cannot_be_sent_does_not_shorten_the_timeline(world, start, script):
    running = start(world.step(script("app", signal_error="engine away")))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() == "process did not exit"
    assert running.elapsed == 12


async def test_suppressed_output_hides_everything(world, start, script):
    action = replace(script("app", lasts=1, status=2, stdout=b"secret\n"), suppress_log_output=True)
    assert await start(world.step(action)).end() == "APP: Exited with status 2"
    failing = replace(script("bad", start_error="no such program"), suppress_log_output=True)
    assert await start(world.step(failing)).end() == "no such program"
    assert world.log.texts == []


async def test_what_the_process_is_given(world, start, script):
    action = replace(
        script("app", lasts=0),
        args=("a", "b"),
        dir="/home/vcap/app",
        env=(EnvironmentVariable(name="BOTH", value="action"), EnvironmentVariable(name="CF_INSTANCE_IP")),
        resource_limits=ResourceLimits(nofile=1024, nproc=5),
    )
    context = {
        "engine_container": EngineContainer(
            guid="g", id="i", init_pid=1, address="10.0.0.2", image_env=(("LANG", "C"), ("BOTH", "image"))
        ),
        "env": (("INSTANCE_INDEX", "0"), ("INSTANCE_INDEX", "77"), ("BOTH", "lrp")),
        "container": Container(
            guid="g",
            external_ip="10.1.1.1",
            ports=(PortMapping(container_port=8080, host_port=61012),),
        ),
    }
    await start(world.step(action, **context)).end()
    (spec,) = world.engine.started
    assert (spec.path, spec.args, spec.dir, spec.user, spec.nofile) == (
        "app", ("a", "b"), "/home/vcap/app", "vcap", 1024,
    )  # fmt: skip
    assert spec.env == (
        ("LANG", "C"),
        ("BOTH", "action"),
        ("INSTANCE_INDEX", "77"),
        ("CF_INSTANCE_IP", "10.1.1.1"),
        ("CF_INSTANCE_INTERNAL_IP", "10.0.0.2"),
        ("CF_INSTANCE_PORT", "61012"),
        ("CF_INSTANCE_ADDR", "10.1.1.1:61012"),
        ("CF_INSTANCE_PORTS", '[{"external":61012,"internal":8080}]'),
    )


async def test_an_empty_user_is_root(world, start, script):
    await start(world.step(replace(script("app", lasts=0), user=""))).end()
    assert world.engine.started[0].user == "root"


async def test_an_interrupted_run_inside_a_try_leaves_the_mark_of_the_interrupt(world, start, script):
    running = start(world.step(TryAction(action=script("app"))))
    await asyncio.sleep(1)
    running.interrupt()
    assert await running.end() is None
    assert running.task.cancelling() == 1


OPTIONS = RunOptions(source="APP", graceful_shutdown_interval=10)
PROBE = replace(OPTIONS, suppress_exit_status=True)


@pytest.mark.parametrize(
    ("exit_", "options", "line", "error"),
    [
        (Exit(status=0), OPTIONS, "Exit status 0", None),
        (Exit(status=1), OPTIONS, "Exit status 1", "APP: Exited with status 1"),
        (Exit(status=1, out_of_memory=True), OPTIONS, "Exit status 1 (out of memory)",
         "APP: Exited with status 1 (out of memory)"),
        (Exit(status=143, interrupted=True), OPTIONS, "Exit status 143", "cancelled"),
        (Exit(status=137, interrupted=True, killed=True, out_of_memory=True), OPTIONS,
         "Exit status 137 (exceeded 10s graceful shutdown interval) (out of memory)",
         "exceeded graceful shutdown interval"),
        (Exit(status=0), PROBE, "", None),
        (Exit(status=1), PROBE, "", ""),
        (Exit(status=1, out_of_memory=True), PROBE, " (out of memory)", " (out of memory)"),
        (Exit(status=137, interrupted=True, killed=True), PROBE,
         " (exceeded 10s graceful shutdown interval)", "exceeded graceful shutdown interval"),
    ],
)  # fmt: skip
def test_the_end_of_a_process(exit_, options, line, error):
    assert exit_log_line(exit_, options) == line
    actual = exit_error(exit_, options)
    assert (None if actual is None else str(actual)) == error


def test_the_shutdown_interval_is_hidden_among_others():
    assert exit_error(Exit(status=137, killed=True), OPTIONS).hidden
    assert isinstance(exit_error(Exit(status=137, killed=True), OPTIONS), ExceededGracefulShutdownInterval)
