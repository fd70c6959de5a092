"""Checks, health check, monitor action and readiness."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

import executor.steps.check as check_module
from bbs.models.actions import CodependentAction, ParallelAction, RunAction, TimeoutAction
from bbs.models.workload import Check, CheckDefinition, HTTPCheck, TCPCheck
from executor.engine.api import EngineContainer
from executor.model import RunInfo
from executor.places import FairPlaces
from executor.steps.base import Step, StepError
from executor.steps.check import next_tick
from executor.steps.context import StepSlots
from executor.steps.health import Readiness
from executor.steps.replay import UNRECORDED, Recorded
from executor.steps.throttle import AT_ONCE, BURST, LONGEST_HOLD_S, PER_SECOND
from executor.steps.tree import build_container_step
from healthcheck.probe import ProbeError, ProbeNotMade

pytestmark = pytest.mark.unit

APP = RunAction(path="app", user="vcap", log_source="APP")
TCP = Check(tcp_check=TCPCheck(port=8080))
HTTP = Check(http_check=HTTPCheck(port=8081, path="/ping", request_timeout_ms=700, interval_ms=5000))
REFUSED = (
    "failed to make TCP connection to 10.0.0.2:8080: dial tcp 10.0.0.2:8080: connect: connection refused"
)


@dataclass
class Port:
    """What probes of one port meet: a list of (from this moment on, failure), and when they came."""

    failures: list[tuple[float, str]] = field(default_factory=list)
    takes: float = 0
    probed_at: list[float] = field(default_factory=list)
    asked: tuple = ()

    async def probe(self, *asked) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() - 1000
        self.asked = asked
        self.probed_at.append(round(now, 3))
        await asyncio.sleep(self.takes)
        failure = [text for since, text in self.failures if since <= now]
        if failure and failure[-1]:
            raise ProbeError(failure[-1], 4)


@pytest.fixture
def ports(monkeypatch):
    """Ports by number, probed without a network; a port nobody mentioned passes."""
    ports: dict[int, Port] = {}

    async def tcp(host, port, timeout, open_socket):
        await ports.setdefault(port, Port()).probe(host, timeout)

    async def http(host, port, uri, timeout, open_socket):
        await ports.setdefault(port, Port()).probe(host, uri, timeout)

    monkeypatch.setattr(check_module, "tcp_check", tcp)
    monkeypatch.setattr(check_module, "http_check", http)
    return ports


def lrp(*checks: Check, readiness: tuple[Check, ...] = (), **fields) -> RunInfo:
    definition = CheckDefinition(checks=checks, readiness_checks=readiness)
    return RunInfo(**({"action": APP, "check_definition": definition, "start_timeout_ms": 60_000} | fields))


class TestHealthCheck:
    async def test_healthy_then_unhealthy(self, world, start, ports):
        ports[8080] = Port([(0, REFUSED), (3, ""), (40, REFUSED)])
        step = build_container_step(lrp(TCP), world.context())
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 4
        assert await running.end() == f"Instance became unhealthy: Liveness check unsuccessful: {REFUSED}"
        assert ports[8080].probed_at == [0, 2, 4, 4, 34, 64]
        assert ports[8080].asked == ("10.0.0.2", 1.0)
        assert world.failed_checks == ["tcp"]
        assert world.log.shown == [
            ("OUT", "CELL", "Starting health monitoring of container"),
            ("OUT", "CELL", "Container became healthy"),
            ("ERR", "HEALTH", f"Liveness check unsuccessful: {REFUSED}"),
            ("ERR", "CELL", "Container became unhealthy"),
            ("OUT", "APP", "Exit status 143"),
        ]

    async def test_never_healthy(self, world, start, ports):
        ports[8080] = Port([(0, REFUSED)])
        step = build_container_step(lrp(TCP), world.context())
        running = start(step)
        text = f"Timed out after 1m0s (30 attempts) waiting for startup check to succeed: {REFUSED}"
        assert await running.end() == f"Instance never healthy after 1m0s: {text}"
        assert not step.ready.is_set()
        assert world.log.shown[1:3] == [
            ("ERR", "HEALTH", text),
            ("ERR", "CELL", "Failed after 1m0s: startup health check never passed."),
        ]

    async def test_without_start_timeout_it_waits_for_ever(self, world, start, ports):
        ports[8080] = Port([(0, REFUSED), (10_000, "")])
        step = build_container_step(lrp(TCP, start_timeout_ms=0), world.context())
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 10_000

    async def test_a_first_attempt_that_outlasts_the_timeout_counts_with_its_own(self, world, start, ports):
        ports[8081] = Port(takes=3600)
        step = build_container_step(lrp(HTTP, start_timeout_ms=1500), world.context())
        assert await start(step).end() == (
            "Instance never healthy after 1.5s: Timed out after 1.5s (1 attempts) waiting for startup check"
            " to succeed: failed to make HTTP request to '/ping' on port 8081: timed out after 0.70 seconds"
        )

    async def test_slow_attempts_follow_the_ticker(self, world, start, ports):
        ports[8080] = Port([(0, REFUSED)], takes=5)
        step = build_container_step(lrp(TCP, start_timeout_ms=17_000), world.context())
        await start(step).end()
        assert ports[8080].probed_at == [0, 5, 10, 15]

    async def test_all_start_up_checks_must_pass(self, world, start, ports):
        ports[8081] = Port([(0, "no"), (6, "")])
        step = build_container_step(lrp(TCP, HTTP), world.context())
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 6
        assert ports[8081].asked == ("10.0.0.2", "/ping", 0.7)

    async def test_the_other_liveness_check_adds_that_it_was_cancelled(self, world, start, ports):
        ports[8081] = Port([(8, "no answer")])
        step = build_container_step(lrp(TCP, HTTP), world.context())
        assert await start(step).end() == (
            "Instance became unhealthy: Liveness check unsuccessful: no answer"
            "; Failed to invoke process: cancelled"
        )
        assert ports[8081].probed_at == [0, 0, 5, 10]
        assert world.failed_checks == ["http"]

    async def test_after_an_oom_event_the_mark_has_a_line_of_its_own(self, world, start, ports):
        ports[8080] = Port([(1, REFUSED)])
        world.engine.oom = True
        step = build_container_step(lrp(TCP), world.context())
        assert await start(step).end() == (
            f"Instance became unhealthy: Liveness check unsuccessful: {REFUSED}\n (out of memory)"
        )
        assert world.log.texts[2:4] == [f"Liveness check unsuccessful: {REFUSED}", " (out of memory)"]

    async def test_a_check_stopped_after_an_oom_event_says_only_that(self, world, start, ports):
        ports[8080] = Port([(31, REFUSED)])
        world.engine.oom = True
        checks = lrp(TCP, Check(tcp_check=TCPCheck(port=9090)))
        assert await start(build_container_step(checks, world.context())).end() == (
            f"Instance became unhealthy: Liveness check unsuccessful: {REFUSED}\n (out of memory)"
            "; (out of memory)"
        )

    async def test_a_container_without_an_address(self, world, start, ports):
        context = world.context(
            engine_container=EngineContainer(guid="guid", id="id", init_pid=1, address="")
        )
        assert await start(build_container_step(lrp(TCP, start_timeout_ms=5000), context)).end() == (
            "Instance never healthy after 5s: Timed out after 5s (3 attempts) waiting for startup check to"
            " succeed: failure to find suitable interface"
        )
        assert ports == {}

    @pytest.mark.parametrize("when", [1, 100])
    async def test_interrupted_is_cancelled_and_hidden(self, world, start, ports, when):
        ports[8080] = Port([(0, REFUSED), (50, "")])
        running = start(build_container_step(lrp(TCP), world.context()))
        await asyncio.sleep(when)
        running.interrupt()
        assert await running.end() == ""
        assert world.engine.processes["app"].signals == [(when, "SIGTERM")]

    @pytest.mark.parametrize(
        "check",
        [
            Check(),
            Check(tcp_check=TCPCheck(port=1), http_check=HTTPCheck(port=1)),
            Check(tcp_check=TCPCheck(port=0)),
            Check(http_check=HTTPCheck(port=65536)),
        ],
    )
    async def test_invalid_checks_are_skipped_and_without_a_valid_one_nothing_is_watched(
        self, world, start, ports, check
    ):
        step = build_container_step(lrp(check), world.context())
        running = start(step)
        await step.ready.wait()
        await asyncio.sleep(10_000)
        assert not running.task.done()
        assert not ports

    async def test_the_definition_s_log_source(self, world, start, ports):
        ports[8080] = Port([(1, REFUSED)])
        definition = CheckDefinition(checks=(TCP,), log_source="CHECKS")
        await start(build_container_step(lrp(check_definition=definition), world.context())).end()
        assert ("ERR", "CHECKS", f"Liveness check unsuccessful: {REFUSED}") in world.log.shown


@pytest.mark.parametrize(
    ("tick", "now", "following"),
    [(0, 0.1, 2), (0, 2, 2), (0, 3, 2), (0, 4.5, 4), (0, 9, 8), (4, 4.1, 6)],
)
def test_ticks_do_not_pile_up_beyond_one(tick, now, following):
    assert next_tick(tick, 2, now) == following


class TestMonitorAction:
    MONITOR = RunAction(path="probe", log_source="PROBE", suppress_log_output=True)

    async def test_probes_until_it_succeeds_and_then_until_it_fails(self, world, start, script):
        script("probe", lasts=0.1, status=1, stdout=b"not yet\n")
        step = build_container_step(
            RunInfo(action=APP, monitor=self.MONITOR, start_timeout_ms=60_000), world.context()
        )
        running = start(step)
        await asyncio.sleep(5)
        script("probe", lasts=0.1, stdout=b"fine\n")
        await step.ready.wait()
        assert running.elapsed == 6.3
        script("probe", lasts=0.1, status=1, stdout=b"no more\n")
        assert await running.end() == "Instance became unhealthy: "
        assert running.elapsed == 36.4
        assert world.log.shown == [
            ("OUT", "CELL", "Starting health monitoring of container"),
            ("OUT", "PROBE", "not yet"),
            ("OUT", "PROBE", "not yet"),
            ("OUT", "PROBE", "fine"),
            ("OUT", "CELL", "Container became healthy"),
            ("OUT", "PROBE", "no more"),
            ("ERR", "CELL", "Container became unhealthy"),
            ("OUT", "APP", "Exit status 143"),
        ]

    async def test_the_start_timeout_is_compared_when_a_probe_fails(self, world, start, script):
        script("probe", lasts=0.5, status=1)
        step = build_container_step(
            RunInfo(action=APP, monitor=self.MONITOR, start_timeout_ms=6000), world.context()
        )
        running = start(step)
        assert await running.end() == "Instance never healthy after 7.5s: "
        assert ("ERR", "CELL", "Failed after 7.5s: startup health check never passed.") in world.log.shown

    async def test_children_side_by_side_give_their_output_as_error_text(self, world, start, script):
        script("a", lasts=0.1, status=1, stdout=b"probe-a\n")
        script("b", lasts=0.2, status=1)
        monitor = ParallelAction(actions=(RunAction(path="a"), RunAction(path="b", suppress_log_output=True)))
        step = build_container_step(
            RunInfo(action=APP, monitor=monitor, start_timeout_ms=1000), world.context()
        )
        assert await start(step).end() == (
            "Instance never healthy after 2.2s: probe-a; Failed to invoke process: "
        )
        assert "probe-a" not in world.log.texts

    async def test_a_probe_of_the_pool_waits_for_a_place(self, world, start, script):
        script("probe", lasts=0.1)
        context = world.context()
        for _ in range(64):
            await context.tools.slots.probes.acquire("other")
        step = build_container_step(RunInfo(action=APP, monitor=self.MONITOR), context)
        running = start(step)
        await asyncio.sleep(10)
        assert not step.ready.is_set()
        context.tools.slots.probes.release("other")
        await step.ready.wait()
        assert running.elapsed == 10.1

    async def test_a_probe_that_hangs_gives_its_place_to_others(self, new_world, start, script_of):
        """Monitors that hang until their start timeout do not keep those of other containers from running."""
        slots = StepSlots(probes=FairPlaces(2))

        def monitored(lasts: float) -> Step:
            world = new_world()
            world.engine.scripts["probe"] = script_of(lasts=lasts)
            info = RunInfo(action=APP, monitor=RunAction(path="probe"))
            return build_container_step(info, world.context(slots=slots))

        hanging = [start(monitored(1000)) for _ in range(2)]
        await asyncio.sleep(1)
        healthy = monitored(0.1)
        running = start(healthy)
        await healthy.ready.wait()
        assert running.elapsed < 2 * LONGEST_HOLD_S
        assert not slots.probes.locked()
        for each in hanging:
            each.interrupt()
            await each.end()
        await asyncio.sleep(LONGEST_HOLD_S)
        assert not slots.probes.locked()

    async def test_sixty_four_probes_of_the_cell_at_once_and_checks_besides(
        self, new_world, start, ports, script_of
    ):
        slots = StepSlots()
        probing = peak = 0

        def watch(world):
            real = world.engine.start_process

            async def counted(container, spec, stdout, stderr, name=""):
                nonlocal probing, peak
                if spec.path == "probe":
                    probing += 1
                    peak = max(peak, probing)
                    asyncio.get_running_loop().call_later(3, left)
                return await real(container, spec, stdout, stderr, name)

            world.engine.start_process = counted

        def left():
            nonlocal probing
            probing -= 1

        running = []
        for _ in range(70):
            world = new_world()
            world.engine.scripts["probe"] = script_of(lasts=3)
            watch(world)
            info = RunInfo(action=APP, monitor=RunAction(path="probe"))
            step = build_container_step(info, world.context(slots=slots))
            running.append((step, start(step)))
        checked = build_container_step(lrp(TCP), new_world().context(slots=slots))
        start(checked)
        await asyncio.sleep(2.5)
        assert slots.probes.locked()
        assert checked.ready.is_set()
        for step, _ in running:
            await step.ready.wait()
        assert peak == 64
        assert running[0][1].elapsed == 8

    async def test_a_codependent_probe_that_is_interrupted(self, world, start, script):
        script("a", lasts=None)
        monitor = CodependentAction(actions=(RunAction(path="a"),))
        running = start(build_container_step(RunInfo(action=APP, monitor=monitor), world.context()))
        await asyncio.sleep(3)
        running.interrupt()
        assert await running.end() == ""

    async def test_a_check_definition_wins_even_when_it_is_empty(self, world, start, script):
        info = RunInfo(action=APP, monitor=self.MONITOR, check_definition=CheckDefinition())
        step = build_container_step(info, world.context())
        running = start(step)
        await step.ready.wait()
        assert (running.elapsed, world.log.texts) == (0, [])

    async def test_a_timeout_around_a_probe_keeps_its_message(self, world, start, script):
        monitor = TimeoutAction(action=replace(self.MONITOR), timeout_ms=500)
        info = RunInfo(action=APP, monitor=monitor, start_timeout_ms=100)
        assert await start(build_container_step(info, world.context())).end() == (
            "Instance never healthy after 2.5s: exceeded 500ms timeout"
        )


class TestFairShare:
    async def test_checks_without_a_pause_are_slowed_down(self, world, start, ports):
        """An interval of 1 ms made a thousand probes a second."""
        eager = Check(tcp_check=TCPCheck(port=8080, interval_ms=1))
        start(build_container_step(lrp(eager), world.context()))
        await asyncio.sleep(100)
        assert len(ports[8080].probed_at) == pytest.approx(BURST + 100 * PER_SECOND, abs=3)

    async def test_very_many_checks_get_their_turns_in_order(self, world, start, ports):
        """A thousand checks of one container kept the agent from all other work."""
        many = [Check(tcp_check=TCPCheck(port=port, interval_ms=1)) for port in range(2000, 3000)]
        context = world.context()
        start(build_container_step(lrp(*many), context))
        await asyncio.sleep(150)
        counts = [len(port.probed_at) for port in ports.values()]
        assert len(counts) == 1000
        assert sum(counts) == pytest.approx(BURST + 150 * PER_SECOND, abs=3)
        assert max(counts) - min(counts) <= 1

    async def test_a_few_probes_at_a_time(self, world, start, ports):
        many = [Check(tcp_check=TCPCheck(port=port)) for port in range(2000, 2100)]
        ports.update({port: Port(takes=3600) for port in range(2000, 2100)})
        start(build_container_step(lrp(*many), world.context()))
        await asyncio.sleep(60)
        assert sum(len(port.probed_at) for port in ports.values()) == AT_ONCE

    async def test_another_container_is_not_slowed_down(self, new_world, start, ports):
        eager = Check(tcp_check=TCPCheck(port=8080, interval_ms=1))
        start(build_container_step(lrp(eager), new_world().context()))
        start(build_container_step(lrp(HTTP), new_world().context()))
        await asyncio.sleep(21)
        assert ports[8081].probed_at == [0, 0, 5, 10, 15, 20]


class TestProbesThatAreNotMade:
    @pytest.fixture
    def short(self, monkeypatch):
        """An agent that lacks descriptors for some time."""
        until = {"s": 0.0}

        async def tcp(host, port, timeout, open_socket):
            if asyncio.get_running_loop().time() - 1000 < until["s"]:
                raise ProbeNotMade("Too many open files")

        monkeypatch.setattr(check_module, "tcp_check", tcp)
        return until

    async def test_the_app_is_not_to_blame(self, world, start, short, caplog):
        """A probe that found no descriptor made the instance unhealthy."""
        step = build_container_step(lrp(TCP), world.context())
        running = start(step)
        await step.ready.wait()
        short["s"] = 100
        await asyncio.sleep(90)
        assert not running.task.done()
        assert "check.probe-not-made" in caplog.messages

    async def test_nor_is_it_healthy_by_that(self, world, start, short):
        short["s"] = 7
        step = build_container_step(lrp(TCP), world.context())
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 8


class TestReadiness:
    PASSED = "Container passed the readiness health check. Container marked ready and added to route pool."
    FAILED = (
        "Container failed the readiness health check. Container marked not ready and removed from route pool."
    )

    async def test_flips_and_never_kills(self, world, start, ports):
        ports[8080] = Port([(0, "no"), (3, ""), (70, "no"), (100, "")])
        step = build_container_step(lrp(readiness=(TCP,)), world.context())
        running = start(step)
        await step.ready.wait()
        assert (running.elapsed, world.readiness) == (0, [])
        await asyncio.sleep(200)
        assert world.readiness == [True, False, True]
        assert not running.task.done()
        assert world.log.shown == [
            ("OUT", "HEALTH", "Starting readiness health monitoring of container"),
            ("OUT", "HEALTH", self.PASSED),
            ("OUT", "HEALTH", self.FAILED),
            ("OUT", "HEALTH", self.PASSED),
        ]

    async def test_all_checks_must_pass_and_one_failure_is_enough(self, world, start, ports):
        ports[8080] = Port([(0, "no"), (5, "")])
        ports[8081] = Port([(12, "no")])
        running = start(build_container_step(lrp(readiness=(TCP, HTTP)), world.context()))
        await asyncio.sleep(8)
        assert world.readiness == [True]
        await asyncio.sleep(9)
        assert world.readiness == [True, False]
        running.interrupt()
        assert await running.end() == ""

    async def test_without_a_valid_check_there_is_no_readiness_step(self, world, start, ports):
        running = start(build_container_step(lrp(readiness=(Check(),)), world.context()))
        await asyncio.sleep(1)
        assert world.log.texts == []
        running.interrupt()
        assert await running.end() == "cancelled"

    async def test_a_check_that_cannot_be_run_ends_the_step(self, world, start):
        class Broken:
            ready = asyncio.Event()

            async def run(self):
                raise StepError("no such interface")

        output = world.context().logs.stream("HEALTH")
        step = Readiness(Broken, Broken, world.readiness.append, output, Recorded(UNRECORDED, "readiness"))
        assert await start(step).end() == "no such interface"
        assert world.readiness == []
        assert world.log.texts[-1] == "Failed to run the readiness check"
