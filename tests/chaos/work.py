"""The work of the kill loop: LRPs of every kind of health check, and Tasks that download, run and upload."""

from __future__ import annotations

import asyncio
import itertools
import random
import tarfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    UploadAction,
)
from bbs.models.common import DynamicValue, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskDefinition, TaskState
from bbs.models.workload import Check, CheckDefinition, HTTPCheck, TCPCheck
from cell.development import APP_STACK, BUSYBOX_STACK
from tests.chaos.lines import LIFE_TAG

DOMAIN = "chaos"
TASKS_AT_ONCE = 5
APP = Path(__file__).with_name("app.py").read_text()
INTERVAL_MS = 500
PATIENCE_MS = 20_000
"""A busy machine is no defect of an app."""

TCP = Check(tcp_check=TCPCheck(port=8080, interval_ms=INTERVAL_MS, connect_timeout_ms=PATIENCE_MS))
HTTP = Check(http_check=HTTPCheck(port=8080, interval_ms=INTERVAL_MS, request_timeout_ms=PATIENCE_MS))
CHECKS: dict[str, CheckDefinition] = {
    "tcp": CheckDefinition(checks=(TCP,)),
    "http": CheckDefinition(checks=(HTTP,)),
    "ready": CheckDefinition(checks=(TCP,), readiness_checks=(HTTP,)),
}
KINDS = ("tcp", "http", "ready", "monitor", "plain", "sidecar")
"""How instances are watched; ``sidecar`` has a second process, and a setup that downloads."""


def lrp(process_guid: str, kind: str, files: str, instances: int = 1) -> DesiredLRP:
    """An LRP with the app. files: URL of :class:`Files`."""
    run = RunAction(path="/usr/bin/python3", args=("-u", "-c", APP), user="vcap")
    action: Action = run
    setup: Action | None = None
    monitor: Action | None = None
    if kind == "sidecar":
        sidecar = RunAction(path="/bin/sleep", args=("100000",), user="vcap")
        action = CodependentAction(actions=(run, sidecar))
        setup = DownloadAction(from_=f"{files}/quick", to="/home/vcap", cache_key="", user="vcap")
    if kind == "monitor":
        check = RunAction(path="/bin/sh", args=("-c", "nc 127.0.0.1 8080 </dev/null"), user="vcap")
        monitor = TimeoutAction(action=check, timeout_ms=10_000)
    return DesiredLRP(
        process_guid=process_guid,
        domain=DOMAIN,
        root_fs=f"preloaded:{APP_STACK}",
        instances=instances,
        memory_mb=64,
        disk_mb=32,
        ports=(8080,),
        setup=setup,
        action=action,
        monitor=monitor,
        check_definition=CHECKS.get(kind),
        log_guid=process_guid,
        metric_tags={
            "source_id": MetricTagValue(static=process_guid),
            LIFE_TAG: MetricTagValue(dynamic=DynamicValue.INSTANCE_GUID),
        },
    )


@dataclass
class Files:
    """A file server for downloads and uploads, both slow enough to be in flight when the agent is killed."""

    archive: bytes
    slow_s: float = 0.25
    uploads: Counter[str] = field(default_factory=Counter)
    url: str = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls, archive: bytes) -> AsyncIterator[Files]:
        files = cls(archive)
        application = web.Application()
        application.router.add_get("/{name}", files._download)
        application.router.add_post("/{name}", files._upload)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            files.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield files
        finally:
            await runner.cleanup()

    async def _download(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(self.archive)
        await response.prepare(request)
        middle = len(self.archive) // 2
        await response.write(self.archive[:middle])
        if request.match_info["name"] == "slow":
            await asyncio.sleep(self.slow_s)
        await response.write(self.archive[middle:])
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(self.slow_s)
        self.uploads[request.match_info["name"]] += 1
        return web.Response()


def task(guid: str, run_s: float, files: str) -> TaskDefinition:
    """A Task whose result is its own name."""
    script = f"echo ran {guid}; sleep {run_s:g}; echo -n 'result of {guid}' > /tmp/result"
    return TaskDefinition(
        root_fs=f"preloaded:{BUSYBOX_STACK}",
        memory_mb=16,
        disk_mb=32,
        log_guid=guid,
        result_file="/tmp/result",
        action=SerialAction(
            actions=(
                DownloadAction(from_=f"{files}/slow", to="/tmp", cache_key="", user="vcap"),
                RunAction(path="/bin/sh", args=("-c", script), user="vcap"),
                UploadAction(from_="/tmp/result", to=f"{files}/{guid}", user="vcap"),
            )
        ),
    )


def archive() -> bytes:
    """A .tgz of 1 MiB that does not compress."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as packed:
        member = tarfile.TarInfo("noise")
        member.size = 1 << 20
        packed.addfile(member, BytesIO(random.Random(0).randbytes(1 << 20)))
    return content.getvalue()


@dataclass
class TaskMill:
    """Keeps Tasks running unless paused, and checks how each ends. wrong: ends that must not be."""

    bbs: HTTPBBSClient
    files: Files
    wrong: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _paused: bool = True

    def pause(self) -> None:
        """Start no more Tasks."""
        self._paused = True

    def go_on(self) -> None:
        self._paused = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._paused and len(self.waiting) < TASKS_AT_ONCE:
                number = next(self._numbers)
                guid = f"task-{number}"
                self.waiting.add(guid)
                await self.bbs.desire_task(guid, DOMAIN, task(guid, number % 4 * 0.25, self.files.url))
            for each in await self.bbs.tasks(domain=DOMAIN):
                if each.state is TaskState.Completed:
                    await self._take(each)
            await asyncio.sleep(0.1)

    async def _take(self, ended: Task) -> None:
        guid = ended.task_guid
        if guid not in self.waiting:
            self.wrong.append(f"{guid} completed twice")
        self.waiting.discard(guid)
        self.done.append(guid)
        if ended.failed or ended.result != f"result of {guid}":
            self.wrong.append(
                f"{guid}: failed={ended.failed} {ended.failure_reason!r} result={ended.result!r}"
            )
        elif not self.files.uploads[guid]:
            self.wrong.append(f"{guid} succeeded without its upload")
        await self.bbs.resolving_task(guid)
        await self.bbs.delete_task(guid)
