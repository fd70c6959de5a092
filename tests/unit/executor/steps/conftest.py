"""A scripted engine, a recording log, and an event loop whose clock advances when it is idle."""

from __future__ import annotations

import asyncio
import selectors
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest

from bbs.models.actions import Action, RunAction
from executor.cache.api import NO_CHECKSUM, Checksum, Fetched, Progress
from executor.engine.api import EngineContainer, OutputHandler, ProcessSpec
from executor.errors import EngineError, ProcessStartError
from executor.logs.streamer import LogStreamer
from executor.model import Container, LogConfig
from executor.steps.base import Step
from executor.steps.context import StepContext, StepSettings, StepTools
from executor.steps.trace import StepEvent
from executor.steps.tree import build_action_step
from tests.support.loglines import RecordingSink

T = TypeVar("T")


class _VirtualSelector(selectors.DefaultSelector):
    """Never waits for a timer: it turns the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now += timeout
            return []
        ready = super().select(30)
        if not ready:
            raise RuntimeError("nothing will ever happen again: the test is waiting for itself")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. What is for a thread takes none of it, and is done on the spot."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except OSError as error:
            future.set_exception(error)
        return future


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualLoop}


class LoopClock:
    """The clock of the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time_ns(self) -> int:
        return int(self.monotonic() * 1e9)


@dataclass(kw_only=True)
class Script:
    """How a process behaves. Times in s; None: never.

    lasts: until it exits by itself. term, kill: until it exits after that signal. later: more on stdout,
    each at its time after the start.
    """

    status: int = 0
    lasts: float | None = None
    term: float | None = 0
    term_status: int = 143
    kill: float | None = 0
    stdout: bytes = b""
    stderr: bytes = b""
    later: tuple[tuple[float, bytes], ...] = ()
    start_takes: float = 0
    start_error: str = ""
    wait_error: str = ""
    signal_error: str = ""


class ScriptedProcess:
    """A process that keeps to its script and notes its signals with the seconds since its start."""

    def __init__(self, script: Script, pid: int) -> None:
        self._script = script
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self.signals: list[tuple[float, str]] = []
        self.released = False
        if script.lasts is not None:
            self._exit_in(script.lasts, script.status)

    @property
    def pid(self) -> int:
        return self._pid

    def _exit_in(self, seconds: float | None, status: int) -> None:
        if seconds is not None:
            self._loop.call_later(seconds, self.exit, status)

    def later(self, seconds: float, write: Callable[[], None]) -> None:
        """Write something, unless it is gone by then."""
        self._loop.call_later(seconds, lambda: None if self._exit.done() else write())

    def exit(self, status: int) -> None:
        if not self._exit.done():
            self._exit.set_result(status)

    async def wait(self) -> int:
        status = await asyncio.shield(self._exit)
        if self._script.wait_error:
            raise EngineError(self._script.wait_error)
        return status

    async def release(self) -> None:
        self.released = True

    async def signal(self, signum: int) -> None:
        name = signal.Signals(signum).name
        self.signals.append((round(self._loop.time() - self._begun, 3), name))
        if self._script.signal_error:
            raise EngineError(self._script.signal_error)
        if name == "SIGTERM":
            self._exit_in(self._script.term, self._script.term_status)
        else:
            self._exit_in(self._script.kill, 137)


@dataclass
class ScriptedEngine:
    """Starts processes by the scripts of their paths; unknown paths run until they get TERM."""

    scripts: dict[str, Script] = field(default_factory=dict)
    oom: bool = False
    started: list[ProcessSpec] = field(default_factory=list)
    durable: dict[str, ScriptedProcess] = field(default_factory=dict)
    processes: dict[str, ScriptedProcess] = field(default_factory=dict)
    streamed_in: list[tuple[str, str, str]] = field(default_factory=list)
    stream_in_error: str = ""
    stream_in_takes: float = 0
    file: bytes = b""
    copy_out_error: Exception | None = None
    copy_out_takes: float = 0
    copied_out: list[tuple[str, str, int]] = field(default_factory=list)

    async def start_process(
        self,
        container: EngineContainer,
        spec: ProcessSpec,
        stdout: OutputHandler,
        stderr: OutputHandler,
        name: str = "",
    ) -> ScriptedProcess:
        script = self.scripts.get(spec.path, Script())
        await asyncio.sleep(script.start_takes)
        self.started.append(spec)
        if script.start_error:
            raise ProcessStartError(script.start_error)
        process = self.processes[spec.path] = ScriptedProcess(script, 100 + len(self.processes))
        if name:
            assert name not in self.durable
            self.durable[name] = process
        stdout(script.stdout)
        stderr(script.stderr)
        for seconds, data in script.later:
            process.later(seconds, lambda data=data: stdout(data))
        return process

    async def adopt_process(
        self, container: EngineContainer, name: str, stdout: OutputHandler, stderr: OutputHandler
    ) -> ScriptedProcess | None:
        return self.durable.get(name)

    async def sweep(self, keep: Collection[str]) -> None:
        """No files of this engine are left behind."""

    async def sweep_processes(self, container: EngineContainer, keep: Collection[str]) -> None:
        """No process of this engine is left behind."""

    async def stream_in(self, container: EngineContainer, path: str, user: str, tar_path: str) -> None:
        await asyncio.sleep(self.stream_in_takes)
        if self.stream_in_error:
            raise EngineError(self.stream_in_error)
        self.streamed_in.append((path, user, tar_path))

    async def copy_out(
        self, container: EngineContainer, path: str, user: str, target: BinaryIO, limit: int
    ) -> int:
        await asyncio.sleep(self.copy_out_takes)
        if self.copy_out_error is not None:
            raise self.copy_out_error
        self.copied_out.append((path, user, limit))
        return target.write(self.file)

    async def out_of_memory(self, container: EngineContainer) -> bool:
        return self.oom


class KeptTrace:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.events: list[StepEvent] = []

    def record(self, event: StepEvent) -> None:
        self.events.append(event)


@dataclass
class ScriptedFetcher:
    """Hands out ``path``, or raises."""

    size: int = 0
    error: Exception | None = None
    takes: float = 0
    asked: list[tuple[str, str, Checksum]] = field(default_factory=list)
    released: int = 0

    async def fetch_file(
        self, url: str, cache_key: str, checksum: Checksum = NO_CHECKSUM, *, progress: Progress | None = None
    ) -> Fetched:
        self.asked.append((url, cache_key, checksum))
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return Fetched(Path("/cache/x.tar"), self.size, self._release)

    def _release(self) -> None:
        self.released += 1


@dataclass
class ScriptedUploader:
    """Keeps what is posted, or raises."""

    error: Exception | None = None
    takes: float = 0
    posted: list[tuple[str, bytes]] = field(default_factory=list)

    async def upload(self, path: Path, url: str, *, progress: Progress | None = None) -> int:
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        data = path.read_bytes()
        self.posted.append((url, data))
        return len(data)


@dataclass
class World:
    """A container to run steps in, and everything they leave behind."""

    work_dir: Path
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    log: RecordingSink = field(default_factory=RecordingSink)
    trace: KeptTrace = field(default_factory=KeptTrace)
    fetcher: ScriptedFetcher = field(default_factory=ScriptedFetcher)
    uploader: ScriptedUploader = field(default_factory=ScriptedUploader)
    config: LogConfig = field(default_factory=lambda: LogConfig(guid="app-guid", source_name="CELL"))
    readiness: list[bool] = field(default_factory=list)
    setup_ends: list[bool] = field(default_factory=list)
    failed_checks: list[str] = field(default_factory=list)

    def context(self, **changes: object) -> StepContext:
        """The context of a step tree; fields, tools and settings can be changed by name."""
        clock = LoopClock()
        settings = {"work_dir": self.work_dir, "unhealthy_monitoring_interval": 2.0}
        settings |= {name: changes.pop(name) for name in list(changes) if name in StepSettings.__slots__}
        tools: dict[str, object] = {
            "engine": self.engine,
            "fetcher": self.fetcher,
            "uploader": self.uploader,
            "settings": StepSettings(**settings),
            "clock": clock,
        }
        tools |= {name: changes.pop(name) for name in list(changes) if name in StepTools.__slots__}
        fields: dict[str, object] = {
            "tools": StepTools(**tools),
            "container": Container(guid="guid"),
            "engine_container": EngineContainer(guid="guid", id="id", init_pid=1, address="10.0.0.2"),
            "logs": LogStreamer(self.log, self.config, clock=clock),
            "on_readiness": self.readiness.append,
            "on_setup_end": self.setup_ends.append,
            "on_liveness_failure": self.failed_checks.append,
            "recorder": self.trace,
        }
        return StepContext(**(fields | changes))

    def step(self, action: Action, **changes: object) -> Step:
        return build_action_step(action, self.context(**changes))


@pytest.fixture
def in_virtual_time() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine in a virtual loop of its own, for tests that cannot be coroutines."""

    def run_it(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(coroutine)

    return run_it


@pytest.fixture
def new_world(tmp_path: Path) -> Callable[[], World]:
    return lambda: World(work_dir=tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(work_dir=tmp_path)


@dataclass
class Running:
    """A step in its task."""

    task: asyncio.Task[None]
    begun: float

    def interrupt(self) -> None:
        self.task.cancel()

    @property
    def elapsed(self) -> float:
        return round(asyncio.get_running_loop().time() - self.begun, 3)

    async def end(self) -> str | None:
        """How it ended: None well, else the text of the error, ``cancelled`` for a plain interrupt."""
        await asyncio.wait({self.task})
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        return None if error is None else str(error)


Start = Callable[[Step], Running]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Runs a step in a task of its own; what is left at the end of the test is ended."""
    tasks = []

    def start_step(step: Step) -> Running:
        loop = asyncio.get_running_loop()
        task = loop.create_task(step.run())
        tasks.append(task)
        return Running(task, loop.time())

    yield start_step
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def run(path: str, **fields: object) -> RunAction:
    """A run action under source APP."""
    return RunAction(**({"path": path, "user": "vcap", "log_source": "APP"} | fields))


@pytest.fixture
def script(world: World) -> Callable[..., RunAction]:
    """Writes a process' script and gives the action that runs it."""

    def write(path: str, **behaviour: object) -> RunAction:
        world.engine.scripts[path] = Script(**behaviour)
        return run(path)

    return write


@pytest.fixture
def script_of() -> type[Script]:
    return Script
