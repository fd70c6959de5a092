"""Replay of step trees: the agent is killed at any effect or record, and the tree ends as it would have."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import executor.steps.check as check_module
from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from bbs.models.workload import Check, CheckDefinition, TCPCheck
from executor.codec import decode, encode
from executor.errors import EngineError
from executor.logs.api import LogLine
from executor.logs.streamer import LogStreamer
from executor.model import RunInfo
from executor.steps.base import Step
from executor.steps.records import StepRecord
from executor.steps.replay import History
from executor.steps.tree import build_container_step
from healthcheck.probe import ProbeError
from tests.support.thorough import examples
from tests.unit.executor.steps.conftest import LoopClock

if TYPE_CHECKING:
    from tests.unit.executor.steps.conftest import Script, ScriptedEngine, ScriptedProcess, World

pytestmark = pytest.mark.unit


class Killed:
    """Kills an agent at its n-th effect or record, before or after it has happened; the agent never resumes.

    The rest of the dead agent's tasks ends with an error at the end of the test, without an effect.
    """

    def __init__(self, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after
        self.dead = asyncio.Event()
        self.buried = asyncio.Event()

    async def effect(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        await self._grave()
        self.left -= 1
        if self.left == 0 and not self.after:
            self.dead.set()
        await self._grave()
        result = await work()
        if self.left == 0:
            self.dead.set()
        await self._grave()
        return result

    async def _grave(self) -> None:
        if self.dead.is_set():
            while not self.buried.is_set():
                try:
                    await self.buried.wait()
                except asyncio.CancelledError:
                    continue
            raise EngineError("the agent is dead")


@dataclass
class Process:
    """A process, as one agent sees it."""

    real: ScriptedProcess
    killed: Killed

    @property
    def pid(self) -> int:
        return self.real.pid

    async def wait(self) -> int:
        status = await self.real.wait()
        await self.killed._grave()
        return status

    async def signal(self, signum: int) -> None:
        await self.killed.effect(lambda: self.real.signal(signum))

    async def release(self) -> None:
        await self.killed.effect(self.real.release)


@dataclass
class Engine:
    """The engine, as one agent sees it."""

    real: ScriptedEngine
    killed: Killed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def start_process(self, *args: Any) -> Process:
        return Process(await self.killed.effect(lambda: self.real.start_process(*args)), self.killed)

    async def adopt_process(self, *args: Any) -> Process | None:
        process = await self.killed.effect(lambda: self.real.adopt_process(*args))
        return None if process is None else Process(process, self.killed)


@dataclass
class Store:
    """The journal of one container: each record as bytes."""

    rows: dict[str, bytes] = field(default_factory=dict)
    killed: Killed | None = None

    async def write(self, path: str, record: StepRecord) -> None:
        async def store() -> None:
            self.rows[path] = encode(record)

        assert self.killed is not None
        await self.killed.effect(store)

    record = write

    def post(self, path: str, record: StepRecord) -> None:
        assert self.killed is not None
        if not self.killed.dead.is_set():
            self.rows[path] = encode(record)

    def past(self) -> dict[str, StepRecord]:
        return {path: decode(StepRecord, row) for path, row in self.rows.items()}


WRAPPERS = {
    "serial": lambda children: SerialAction(actions=children),
    "parallel": lambda children: ParallelAction(actions=children),
    "codependent": lambda children: CodependentAction(actions=children),
    "try": lambda children: TryAction(action=children[0]),
    "emit-progress": lambda children: EmitProgressAction(action=children[0], failure_message_prefix="failed"),
}


@st.composite
def trees(draw: st.DrawFn) -> tuple[Action, dict[str, dict[str, Any]]]:
    """A tree of processes that end at different times, and their scripts."""
    scripts: dict[str, dict[str, Any]] = {}

    def grow(depth: int) -> Action:
        kind = draw(st.sampled_from(["run", "run", *WRAPPERS, "timeout"] if depth else ["run"]))
        if kind == "run":
            name = f"p{len(scripts)}"
            tail = (len(scripts) + 1) * 1e-3
            scripts[name] = {
                "lasts": draw(st.integers(1, 20)) + tail,
                "status": draw(st.sampled_from([0, 0, 1, 7])),
                "term": draw(st.sampled_from([0.0, 3.0])) + tail / 100,
            }
            return RunAction(path=name, log_source="APP")
        if kind == "timeout":
            milliseconds = draw(st.integers(1, 20)) * 1000 + 500 + draw(st.integers(0, 99))
            return TimeoutAction(action=grow(depth - 1), timeout_ms=milliseconds)
        single = kind in ("try", "emit-progress")
        count = 1 if single else draw(st.integers(1, 3))
        return WRAPPERS[kind](tuple(grow(depth - 1) for _ in range(count)))

    return grow(draw(st.integers(1, 4))), scripts


@dataclass
class End:
    """How a tree ended. signals: kinds of signals by process."""

    text: str | None
    at: float
    started: Counter[str]
    signals: dict[str, set[str]]
    log: set[str]


async def live(
    world: World, action: Action, kills: list[tuple[int, bool]], interrupt_at: float | None
) -> End:
    """Run the tree under one agent after the other; the last one is not killed."""
    loop = asyncio.get_running_loop()
    begun, store, agents, tasks = loop.time(), Store(), [], []
    interrupted = False

    def agent(at: int, after: bool) -> asyncio.Task[None]:
        store.killed = killed = Killed(at, after=after)
        agents.append(killed)
        mine = Store(store.rows, killed)
        context = world.context(engine=Engine(world.engine, killed), history=History(store.past(), mine))
        step: Step = build_container_step(RunInfo(action=action), context)
        tasks.append(loop.create_task(step.run()))
        return tasks[-1]

    for at, after in [*kills, (0, False)]:
        task = agent(at, after)
        dead = loop.create_task(agents[-1].dead.wait())
        while not task.done() and not agents[-1].dead.is_set():
            stop = None
            if interrupt_at is not None and not interrupted:
                stop = max(0.0, begun + interrupt_at - loop.time())
            await asyncio.wait({task, dead}, timeout=stop, return_when=asyncio.FIRST_COMPLETED)
            if stop is not None and loop.time() >= begun + interrupt_at and not task.done():
                interrupted = True
                task.cancel()
        dead.cancel()
        if task.done():
            break
        if interrupted and "interrupt" not in store.rows:
            interrupted = False  # the stop of a container is recorded elsewhere, and repeated
    end = round(loop.time() - begun, 6)
    text = "cancelled" if task.cancelled() else str(task.exception()) if task.exception() else None
    log = set(world.log.texts)
    for killed in agents:
        killed.dead.set()
        killed.buried.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    processes = world.engine.processes
    return End(
        text,
        end,
        Counter(spec.path for spec in world.engine.started),
        {name: {kind for _, kind in process.signals} for name, process in processes.items()},
        log,
    )


@settings(
    max_examples=examples(300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    trees(),
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=4),
    st.sampled_from([None, None, 2.25, 7.25]),
)
@example(  # a step ended within its limit, and the agent is killed after that limit
    (
        SerialAction(
            actions=(
                TimeoutAction(
                    action=ParallelAction(actions=(RunAction(path="p0", log_source="APP"),)), timeout_ms=1500
                ),
                RunAction(path="p1", log_source="APP"),
            )
        ),
        {
            "p0": {"lasts": 1.001, "status": 0, "term": 1e-05},
            "p1": {"lasts": 1.002, "status": 0, "term": 2e-05},
        },
    ),
    [(7, False)],
    None,
)
def test_a_killed_agent_changes_nothing(
    in_virtual_time: Callable[[Coroutine[Any, Any, End]], End],
    new_world: Callable[[], World],
    script_of: type[Script],
    case: tuple[Action, dict[str, dict[str, Any]]],
    kills: list[tuple[int, bool]],
    interrupt_at: float | None,
) -> None:
    """Processes run once, the tree ends at the same time with the same error, and no line is missing."""
    action, scripts = case

    def play(kills: list[tuple[int, bool]]) -> End:
        async def in_world() -> End:
            world = new_world()
            world.engine.scripts = {name: script_of(**script) for name, script in scripts.items()}
            return await live(world, action, kills, interrupt_at)

        return in_virtual_time(in_world())

    undisturbed, replayed = play([]), play(kills)
    assert replayed == undisturbed
    assert set(replayed.started.values()) <= {1}


class Agents:
    """Successive agents of one container in one world."""

    def __init__(self, world: World, info: RunInfo, **settings: object) -> None:
        self._world = world
        self._info = info
        self._settings = settings
        self._store = Store()
        self._killed: list[Killed] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> Step:
        """Run the tree under a new agent; the previous one is killed now."""
        self.kill()
        killed = self._store.killed = Killed(0, after=False)
        self._killed.append(killed)
        mine = Store(self._store.rows, killed)
        step = build_container_step(
            self._info,
            self._world.context(
                engine=Engine(self._world.engine, killed),
                history=History(self._store.past(), mine),
                logs=LogStreamer(_OfOne(self._world, killed), self._world.config, clock=LoopClock()),
                on_readiness=lambda routable: killed.dead.is_set() or self._world.readiness.append(routable),
                **self._settings,
            ),
        )
        self._tasks.append(asyncio.create_task(step.run()))
        return step

    def kill(self) -> None:
        """Kill the agent that runs, if any."""
        for killed in self._killed:
            killed.dead.set()

    async def end(self) -> str:
        """The error of the last tree."""
        await asyncio.wait({self._tasks[-1]})
        return str(self._tasks[-1].exception())

    async def interrupt(self) -> bool:
        """Interrupt the last tree; whether it ends as an interrupted one."""
        self._tasks[-1].cancel()
        await asyncio.wait({self._tasks[-1]})
        return self._tasks[-1].cancelled()

    def forge(self, path: str, record: StepRecord) -> None:
        """Put a record into the journal."""
        self._store.rows[path] = encode(record)

    async def bury(self) -> None:
        for killed in self._killed:
            killed.dead.set()
            killed.buried.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass
class _OfOne:
    """The log, as long as the agent lives."""

    world: World
    killed: Killed

    def emit(self, line: LogLine) -> None:
        if not self.killed.dead.is_set():
            self.world.log.emit(line)


@pytest.fixture
async def agents(world: World) -> AsyncIterator[Callable[..., Agents]]:
    made: list[Agents] = []

    def make(info: RunInfo, **settings: object) -> Agents:
        made.append(Agents(world, info, **settings))
        return made[-1]

    yield make
    for each in made:
        await each.bury()


APP = RunAction(path="app", log_source="APP")


async def test_a_healthy_instance_stays_healthy(
    world: World, agents: Callable[..., Agents], script_of: type[Script]
) -> None:
    """A restart is no new start-up: no line in the log, ready at once, and the liveness check goes on."""
    world.engine.scripts["probe"] = script_of(lasts=0)
    agent = agents(RunInfo(action=APP, monitor=RunAction(path="probe"), start_timeout_ms=60_000))
    step = agent.start()
    await step.ready.wait()
    lines = list(world.log.texts)
    await asyncio.sleep(5)
    again = agent.start()
    async with asyncio.timeout(1):
        await again.ready.wait()
    await asyncio.sleep(100)
    assert world.log.texts == lines
    world.engine.scripts["probe"] = script_of(lasts=0, status=1)
    assert "Instance became unhealthy" in await agent.end()
    assert [spec.path for spec in world.engine.started].count("app") == 1


async def test_an_app_that_ended_while_no_agent_ran_crashes_with_its_status(
    world: World,
    agents: Callable[..., Agents],
    script_of: type[Script],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its health check fails, too, but says less."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + 7

    async def tcp_check(*_: object) -> None:
        if loop.time() >= ends_at:
            raise ProbeError("connection refused", 4)

    monkeypatch.setattr(check_module, "tcp_check", tcp_check)
    world.engine.scripts["app"] = script_of(lasts=7, status=9)
    check = CheckDefinition(checks=(Check(tcp_check=TCPCheck(port=8080)),))
    agent = agents(RunInfo(action=APP, check_definition=check))
    step = agent.start()
    await step.ready.wait()
    agent.kill()
    await asyncio.sleep(10)
    agent.start()
    assert "Exited with status 9" in await agent.end()


async def test_the_time_limit_of_a_start_up_counts_from_its_beginning(
    world: World, agents: Callable[..., Agents], script_of: type[Script]
) -> None:
    world.engine.scripts["probe"] = script_of(lasts=0, status=1)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    agent = agents(RunInfo(action=APP, monitor=RunAction(path="probe"), start_timeout_ms=60_000))
    agent.start()
    await asyncio.sleep(40)
    agent.start()
    assert "Instance never healthy after 1m" in await agent.end()
    assert 60 <= loop.time() - begun < 65
    assert world.log.texts.count("Starting health monitoring of container") == 1


async def test_a_time_limit_counts_on_while_no_agent_runs(
    world: World, agents: Callable[..., Agents]
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    agent = agents(RunInfo(action=TimeoutAction(action=APP, timeout_ms=30_000)))
    agent.start()
    await asyncio.sleep(20)
    agent.start()
    assert "exceeded 30s timeout" in await agent.end()
    assert loop.time() - begun == pytest.approx(30, abs=0.1)


async def test_an_interrupt_between_two_agents_is_applied_after_the_replay(
    world: World, agents: Callable[..., Agents], script_of: type[Script]
) -> None:
    """A stop at the very start of the new agent still terminates the process of the old one."""
    world.engine.scripts |= {"first": script_of(lasts=1), "app": script_of()}
    first = RunAction(path="first", log_source="APP")
    agent = agents(RunInfo(action=SerialAction(actions=(first, APP))))
    agent.start()
    await asyncio.sleep(5)
    agent.start()
    await asyncio.sleep(0)
    assert await agent.interrupt()
    assert [kind for _, kind in world.engine.processes["app"].signals] == ["SIGTERM"]
    assert [spec.path for spec in world.engine.started] == ["first", "app"]


async def test_transfers_under_way_begin_again_and_ended_ones_do_not(
    world: World, agents: Callable[..., Agents]
) -> None:
    """An upload is at least once; a download that had ended is not repeated."""
    world.engine.file = b"result"
    world.uploader.takes = 10
    down = DownloadAction(from_="http://files/droplet", to=".", user="vcap")
    up = UploadAction(from_="result", to="http://files/result", user="vcap")
    agent = agents(RunInfo(action=SerialAction(actions=(down, up))))
    agent.start()
    await asyncio.sleep(5)
    agent.start()
    assert await agent.end() == "None"
    assert len(world.fetcher.asked) == 1
    assert world.uploader.posted[-1] == ("http://files/result", b"result")


async def test_a_record_that_does_not_belong_to_the_tree_delays_it_only(
    world: World, agents: Callable[..., Agents], caplog: pytest.LogCaptureFixture
) -> None:
    agent = agents(RunInfo(action=TimeoutAction(action=APP, timeout_ms=30_000)))
    agent.forge("action/serial[3]/run", StepRecord(begun=1))
    agent.forge("action/timeout/run", StepRecord(begun=2))
    agent.start()
    assert "exceeded 30s timeout" in await agent.end()
    assert "replay.record-does-not-fit" in caplog.text
