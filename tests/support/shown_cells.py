"""A cell for the page: scripted containers with real stories and log tails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from bbs.models.actions import Action, DownloadAction, ParallelAction, RunAction, SerialAction
from bbs.models.actual_lrp import ActualLRPKey
from bbs.serving.address import Address, listening
from bbs.serving.listener import serving
from cell.page.api import Page
from cell.page.local import LocalCell, Memories
from cell.page.source import Source
from executor.logs.api import LineBatch, LogLine, Stream
from executor.model import (
    Container,
    ContainerMetrics,
    ContainerState,
    LogConfig,
    MetricsConfig,
    PortMapping,
    Resources,
    RunInfo,
    RunResult,
)
from executor.steps.trace import Facts, Outcome, StepEnded, StepStarted
from rep import tags
from rep.config import RepConfig
from rep.evacuation import EvacuationFlag
from tests.support.rep_doubles import FakeExecutor, agent_config

TREE = SerialAction(
    actions=(
        ParallelAction(
            actions=(
                DownloadAction(artifact="app bits", from_="http://files.test/bits.tgz", to="/app"),
                DownloadAction(artifact="sidecar", from_="http://files.test/sidecar.tgz", to="/sidecar"),
            )
        ),
        RunAction(path="/app/start", args=("--port", "8080"), user="vcap"),
    )
)
DOWNLOADS = ("action/serial[0]/parallel[0]/download", "action/serial[0]/parallel[1]/download")
GROUP = "action/serial[0]/parallel"
PROGRAM = "action/serial[1]/run"
EPOCH_NS = 1_700_000_000_000_000_000
"""When everything happens, unless a test says otherwise."""


@dataclass
class ScriptedRep:
    """Implements :class:`cell.page.local.Rep`. waiting: rows of the courier's overview."""

    ready: asyncio.Event = field(default_factory=asyncio.Event)
    evacuation: EvacuationFlag = field(default_factory=EvacuationFlag)
    waiting: list[dict[str, object]] = field(default_factory=list)

    def outcomes(self, most: int) -> Mapping[str, object]:
        return {
            "bbs_available": not self.waiting,
            "journal_trouble": "",
            "outcomes": self.waiting[:most],
            "waiting": len(self.waiting),
        }


class ShownCell:
    """Containers that tests move, as their page shows them."""

    def __init__(self, config: RepConfig | None = None, total: Resources | None = None) -> None:
        self.executor = FakeExecutor(total or Resources(memory_mb=8000, disk_mb=20000, containers=250))
        self.memories = Memories.empty()
        self.rep = ScriptedRep()
        self.rep.ready.set()
        self.cell = LocalCell(config or agent_config(), self.executor, self.rep, self.memories)

    def put(self, container: Container) -> Container:
        """Make a container exist as it is."""
        self.executor.put(container)
        self.memories.stories.moved(container)
        return container

    def reserve(self, app: str, index: int = 0, *, guid: str = "", **values: Any) -> Container:
        """Reserve an instance of an app."""
        guid = guid or f"{app}-{index}-guid"
        key = ActualLRPKey(process_guid=app, index=index, domain="apps")
        return self.put(
            Container(
                **{
                    "guid": guid,
                    "memory_mb": 64,
                    "disk_mb": 128,
                    "tags": tags.lrp_tags(key, guid, None, None),
                    "allocated_at": EPOCH_NS,
                    **values,
                }
            )
        )

    def reserve_task(self, guid: str, **values: Any) -> Container:
        """Reserve a Task."""
        return self.put(Container(guid=guid, memory_mb=32, tags=tags.task_tags("apps", None, None), **values))

    def run(self, guid: str, action: Action = TREE, *, name: str = "", **info: Any) -> Container:
        """Give a reservation its work, and create it."""
        labels = {"app_name": name} if name else {}
        index = int(self.executor.container(guid).tags.get(tags.PROCESS_INDEX, "0"))
        described = RunInfo(
            root_fs="preloaded:busybox",
            action=action,
            ports=(8080,),
            env=(("SECRET_TOKEN", "do-not-show"),),
            log_config=LogConfig(guid=f"log-{guid}", index=index, source_name="APP"),
            metrics_config=MetricsConfig(guid=guid, index=index, tags=labels),
        )
        self.move(guid, state=ContainerState.INITIALIZING, run_info=replace(described, **info))
        return self.move(
            guid,
            state=ContainerState.CREATED,
            external_ip="192.0.2.1",
            internal_ip="10.255.0.7",
            ports=(PortMapping(container_port=8080, host_port=61001),),
        )

    def become_running(self, guid: str) -> Container:
        return self.move(guid, state=ContainerState.RUNNING, routable=True)

    def crash(self, guid: str, reason: str = "APP/PROC/WEB: Exited with status 1") -> Container:
        """The container ends by itself."""
        result = RunResult(failed=True, failure_reason=reason)
        return self.move(guid, state=ContainerState.COMPLETED, run_result=result)

    def move(self, guid: str, **values: Any) -> Container:
        """Change a container."""
        return self.put(replace(self.executor.container(guid), **values))

    def remove(self, guid: str) -> None:
        """Destroy a container."""
        del self.executor.store[guid]
        self.memories.stories.removed(guid)

    def begin(self, guid: str, path: str, at_ns: int = EPOCH_NS) -> None:
        """A step begins."""
        self.memories.stories.recorder(guid).record(StepStarted(path=path, time_ns=at_ns))

    def end(
        self,
        guid: str,
        path: str,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        at_ns: int = EPOCH_NS + 1_000_000_000,
        reason: str = "",
        **facts: Any,
    ) -> None:
        """A step ends."""
        ended = StepEnded(
            path=path, time_ns=at_ns, seconds=1.0, outcome=outcome, reason=reason, facts=Facts(**facts)
        )
        self.memories.stories.recorder(guid).record(ended)

    def log(self, guid: str, *texts: str, error: bool = False, at_ns: int = EPOCH_NS) -> None:
        """Lines of the app's log."""
        config = self.executor.container(guid).run_info.log_config
        stream = Stream.ERR if error else Stream.OUT
        first = LogLine(b"", stream, config.guid, str(config.index), "APP", at_ns)
        payloads = [text.encode() for text in texts]
        self.memories.tails.emit_batch(LineBatch(first, payloads, range(at_ns, at_ns + len(texts))))

    def use(self, guid: str, memory: int, cpu: float = 0.0) -> None:
        """A reading of what a container uses. memory: bytes; cpu: percent."""
        self.executor.readings = {
            **self.executor.readings,
            guid: ContainerMetrics(
                memory_usage=memory, memory_limit=64 << 20, disk_limit=128 << 20, cpu_percentage=cpu
            ),
        }


@asynccontextmanager
async def page_of(source: Source, prefix: str = "", port: int = 0) -> AsyncIterator[str]:
    """The URL of a page, without a slash at its end. port: 0 for any."""
    application = web.Application()
    with listening(Address("127.0.0.1", port), "the page") as bound:
        port = bound.getsockname()[1]
        async with (
            Page(source).mounted(application, prefix),
            serving(application, bound, cancel_on_disconnect=True),
        ):
            yield f"http://127.0.0.1:{port}{prefix}"
