"""Action trees in a real container, with a real web server for downloads and uploads."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    ResourceLimits,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from bbs.models.common import EnvironmentVariable
from executor.cache.downloader import Downloader
from executor.cache.http import Fetcher
from executor.cache.limits import ArchiveLimits
from executor.cache.uploader import Uploader
from executor.engine.api import ContainerSpec
from executor.engine.docker import DockerEngine
from executor.logs.api import LogLine
from executor.logs.streamer import LogStreamer
from executor.model import Container, LogConfig, PortMapping
from executor.steps.context import StepContext, StepSettings, StepTools
from executor.steps.trace import StepEnded, StepEvent
from executor.steps.tree import build_action_step

pytestmark = pytest.mark.docker

Line = tuple[str, str, str]
GRACE = 0.5


@dataclass
class Site:
    """Serves what is in ``files``, each under an ETag of its own; keeps what is posted, with its headers."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    posted: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    not_modified: int = 0

    async def get(self, request: web.Request) -> web.Response:
        body = self.files.get(request.path)
        if body is None:
            return web.Response(status=404)
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            self.not_modified += 1
            return web.Response(status=304)
        return web.Response(body=body, headers={"ETag": etag})

    async def post(self, request: web.Request) -> web.Response:
        self.posted.append((request.path, await request.read(), dict(request.headers)))
        return web.Response()


@dataclass
class Place:
    """A container to run trees in, and what they leave behind."""

    context: StepContext = field(init=False)
    log: list[LogLine] = field(default_factory=list)
    trace: list[StepEvent] = field(default_factory=list)

    async def run(self, *actions: Action) -> str | None:
        """The text of the error, none for success."""
        action = actions[0] if len(actions) == 1 else SerialAction(actions=actions)
        step = build_action_step(action, self.context)
        task = asyncio.create_task(step.run())
        async with asyncio.timeout(30):
            await asyncio.wait({task})
        error = task.exception()
        return None if error is None else str(error)

    @property
    def lines(self) -> list[Line]:
        return [(line.stream.value, line.source_type, line.payload.decode()) for line in self.log]

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text in self.lines]

    def ended(self, path: str) -> StepEnded:
        (event,) = [each for each in self.trace if isinstance(each, StepEnded) and each.path == path]
        return event

    def emit(self, line: LogLine) -> None:
        self.log.append(line)

    def record(self, event: StepEvent) -> None:
        self.trace.append(event)


OpenPlace = Callable[..., Awaitable[Place]]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", site.get)
    app.router.add_post("/{path:.*}", site.post)
    async with TestServer(app) as server:
        site.url = str(server.make_url("")).rstrip("/")
        yield site


@pytest.fixture
async def open_place(engine: DockerEngine, rootfs_image: str, tmp_path: Path) -> AsyncIterator[OpenPlace]:
    limits = ArchiveLimits(free_bytes=1 << 20, ratio=2)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        Downloader(
            Fetcher(session, pause=lambda _: 0), tmp_path / "cache", 1 << 30, limits=limits
        ) as downloader,
    ):

        async def opened(memory_bytes: int = 0) -> Place:
            spec = ContainerSpec(
                guid="g1", root_fs=rootfs_image, address="10.0.0.2", memory_bytes=memory_bytes
            )
            place = Place()
            place.context = StepContext(
                tools=StepTools(
                    engine=engine,
                    fetcher=downloader,
                    uploader=Uploader(session),
                    settings=StepSettings(graceful_shutdown_interval=GRACE, work_dir=tmp_path),
                ),
                container=Container(
                    guid="g1",
                    external_ip="192.0.2.2",
                    ports=(PortMapping(container_port=8080, host_port=61001),),
                ),
                engine_container=await engine.create(spec),
                logs=LogStreamer(place, LogConfig(guid="app", source_name="CELL")),
                env=(("INSTANCE_INDEX", "0"), ("CF_INSTANCE_IP", "overridden")),
                recorder=place,
            )
            return place

        yield opened


@pytest.fixture
async def place(open_place: OpenPlace) -> Place:
    return await open_place()


def sh(script: str, source: str = "APP", user: str = "vcap", **fields: Any) -> RunAction:
    return RunAction(path="/bin/sh", args=("-c", script), user=user, log_source=source, **fields)


def tgz(*members: tuple[str, bytes, int]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content, mode in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(content), mode, 777
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


async def test_a_stubborn_process_has_its_interval_and_is_killed(place: Place) -> None:
    deaf = sh("trap 'echo heard' TERM; echo deaf; while :; do sleep .05; done", "DEAF")
    quick = sh("until [ -e /tmp/go ]; do sleep .02; done; exit 3", "QUICK")
    go = sh("sleep .3; touch /tmp/go; exec sleep 100", "GO")
    assert await place.run(CodependentAction(actions=(deaf, quick, go))) == "QUICK: Exited with status 3"
    assert place.lines[0] == ("OUT", "DEAF", "deaf")
    assert sorted(place.lines[1:]) == [
        ("OUT", "DEAF", "Exit status 137 (exceeded 500ms graceful shutdown interval)"),
        ("OUT", "DEAF", "heard"),
        ("OUT", "GO", "Exit status 143"),
        ("OUT", "QUICK", "Exit status 3"),
    ]
    quick_end, deaf_end = (place.ended(f"action/codependent[{index}]/run").time_ns / 1e9 for index in (1, 0))
    assert GRACE <= deaf_end - quick_end < GRACE + 1
    assert place.ended("action/codependent[0]/run").facts.exit_status == 137


async def test_a_codependent_action_in_a_timeout_in_a_try(place: Place) -> None:
    worker = sh("echo working; exec sleep 100", "WORKER")
    failing = sh("exec sleep 100", "OTHER")
    tree = TimeoutAction(action=CodependentAction(actions=(worker, failing)), timeout_ms=700)
    started = EmitProgressAction(
        action=tree, start_message="Begin", failure_message_prefix="Lost", log_source="STG"
    )
    assert await place.run(TryAction(action=started), sh("echo after")) is None
    assert place.lines[:2] == [("OUT", "STG", "Begin"), ("OUT", "WORKER", "working")]
    assert sorted(place.lines[2:4]) == [
        ("OUT", "OTHER", "Exit status 143"),
        ("OUT", "WORKER", "Exit status 143"),
    ]
    assert place.lines[4:] == [
        ("ERR", "STG", "Lost: exceeded 700ms timeout"),
        ("OUT", "APP", "after"),
        ("OUT", "APP", "Exit status 0"),
    ]
    assert place.ended("action/serial[0]/try/emit-progress/timeout").reason == "exceeded 700ms timeout"


async def test_the_mark_of_an_oom_event_stays_with_the_container(open_place: OpenPlace) -> None:
    place = await open_place(memory_bytes=24 << 20)
    hog = sh("exec tail /dev/zero", "HOG")
    assert await place.run(TryAction(action=hog), sh("exit 0", "FINE"), sh("exit 7", "LATER")) == (
        "LATER: Exited with status 7 (out of memory)"
    )
    assert place.lines == [
        ("OUT", "HOG", "Exit status 137 (out of memory)"),
        ("OUT", "FINE", "Exit status 0"),
        ("OUT", "LATER", "Exit status 7 (out of memory)"),
    ]


async def test_a_process_gets_its_user_directory_limits_and_variables(place: Place) -> None:
    script = "id -u; pwd; stat -c %u:%g .; ulimit -n; env | grep -v ^SHLVL | sort"
    environment = (
        EnvironmentVariable(name="CF_INSTANCE_PORT", value="mine"),
        EnvironmentVariable(name="A", value="b c"),
    )
    action = sh(
        script,
        user="2000",
        dir="/srv/new/here",
        env=environment,
        resource_limits=ResourceLimits(nofile=321, nproc=1),
    )
    assert await place.run(action) is None
    assert place.texts == [
        "2000",
        "/srv/new/here",
        "2000:2000",
        "321",
        "A=b c",
        "CF_INSTANCE_ADDR=192.0.2.2:61001",
        "CF_INSTANCE_INTERNAL_IP=10.0.0.2",
        "CF_INSTANCE_IP=192.0.2.2",
        "CF_INSTANCE_PORT=61001",
        'CF_INSTANCE_PORTS=[{"external":61001,"internal":8080}]',
        "HOME=/home/vcap",
        "INSTANCE_INDEX=0",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PWD=/srv/new/here",
        "USER=2000",
        "Exit status 0",
    ]


async def test_starts_that_fail_side_by_side(place: Place) -> None:
    nobody = sh("true", "A", user="nobodyhere")
    missing = RunAction(path="/no/such", user="vcap", log_source="B")
    lost = sh("true", "C", dir="not/absolute")
    reason = await place.run(ParallelAction(actions=(nobody, missing, lost)))
    assert reason is not None
    texts = {source: text for _, source, text in place.lines}
    assert reason == "; ".join(
        texts[source].removeprefix("failed-creating-process: ") for source in ("A", "B", "C")
    )
    assert texts["A"] == (
        "failed-creating-process: unable to find user nobodyhere: no matching entries in passwd file"
    )
    assert texts["B"].endswith('exec: "/no/such": stat /no/such: no such file or directory')
    assert "Cwd must be an absolute path" in texts["C"]
    assert place.ended("action/parallel[1]/run").facts.exit_status is None


async def test_files_come_in_as_the_user_and_go_out_with_their_digests(place: Place, site: Site) -> None:
    site.files["/app.tgz"] = body = tgz(
        ("bin/run", b"#!/bin/sh\necho ran\n", 0o750), ("data", b"x" * 2000, 0o640)
    )
    download = DownloadAction(
        artifact="app",
        from_=f"{site.url}/app.tgz",
        to="in/here",
        user="vcap",
        cache_key="app",
        checksum_algorithm="sha256",
        checksum_value=hashlib.sha256(body).hexdigest(),
        log_source="STG",
    )
    use = sh("cd in/here; ./bin/run; stat -c '%n %u:%g %a' . bin/run data; seq 3 > /tmp/out")
    upload = UploadAction(
        artifact="result", from_="/tmp/out", to=f"{site.url}/result", user="vcap", log_source="STG"
    )
    assert await place.run(download, use, upload, download) is None
    assert place.lines == [
        ("OUT", "STG", "Downloading app..."),
        ("OUT", "STG", f"Downloaded app ({len(body)}B)"),
        ("OUT", "APP", "ran"),
        ("OUT", "APP", ". 2000:2000 755"),
        ("OUT", "APP", "bin/run 2000:2000 750"),
        ("OUT", "APP", "data 2000:2000 640"),
        ("OUT", "APP", "Exit status 0"),
        ("OUT", "STG", "Uploading result..."),
        ("OUT", "STG", "Uploaded result (6B)"),
        ("OUT", "STG", "Downloading app..."),
        ("OUT", "STG", "Downloaded app"),
    ]
    ((path, posted, headers),) = site.posted
    assert (path, posted) == ("/result", b"1\n2\n3\n")
    assert headers["Content-MD5"] == base64.b64encode(hashlib.md5(posted).digest()).decode()
    assert headers["Content-Length"] == "6"
    assert site.not_modified == 1
    assert place.ended("action/serial[0]/download").facts.transferred_bytes == len(body)


@pytest.mark.parametrize(
    ("member", "text", "cause"),
    [
        (
            ("../evil", b"x"),
            r"Copying app into the container failed: archive member '../evil' is refused: .*",
            "",
        ),
        (
            ("zeros", bytes(8 << 20)),
            "Downloading app failed",
            r"archive refused: \d+ bytes unpack to more than 1048576",
        ),
    ],
    ids=["leads-out", "bomb"],
)
async def test_hostile_archives_never_arrive(
    place: Place, site: Site, member: tuple[str, bytes], text: str, cause: str
) -> None:
    site.files["/app.tgz"] = tgz((*member, 0o644))
    download = DownloadAction(artifact="app", from_=f"{site.url}/app.tgz", to="in", user="vcap")
    reason = await place.run(download)
    assert reason is not None
    assert re.fullmatch(text, reason)
    assert place.lines == [("OUT", "CELL", "Downloading app..."), ("ERR", "CELL", reason)]
    assert await place.run(sh("find / -xdev -name evil -o -xdev -name zeros", user="root")) is None
    assert place.texts[2:] == ["Exit status 0"]
    assert re.fullmatch(cause, place.ended("action/download").cause)


async def test_what_is_not_there_is_not_posted(place: Place, site: Site) -> None:
    upload = UploadAction(artifact="it", from_="/tmp/none", to=f"{site.url}/x", user="vcap")
    assert await place.run(upload) == "Failed to find first item in tar stream for it"
    assert place.lines == [
        ("OUT", "CELL", "Uploading it..."),
        ("ERR", "CELL", "Failed to find first item in tar stream for it"),
    ]
    assert site.posted == []


async def test_a_silent_process_is_only_in_the_story(place: Place) -> None:
    assert await place.run(
        sh("echo seen by nobody; echo nor this >&2; exit 4", suppress_log_output=True)
    ) == ("APP: Exited with status 4")
    assert place.lines == []
    assert place.ended("action/run").facts.exit_status == 4
