"""A cell and its control plane over sockets, plain or with mutual TLS, and faults of the BBS."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity, IdentityFiles
from bbs.client.locket import LocketClient, channel_credentials
from bbs.client.transport import Policy
from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.destinations import Destinations
from bbs.embedded.calls.reps import RepClient
from bbs.embedded.locket.server import locket_credentials
from bbs.embedded.service import BBS, run_bbs
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from executor.journal.sqlite import SQLiteJournal
from executor.model import Container, ContainerState, EventKind
from rep.agent import RepAgent
from rep.config import parse
from rep.server import listening
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATIENT = Policy(attempts=3, pause_s=0.01, request_timeout_s=0.2)
LRP = DesiredLRP(
    process_guid="web",
    domain="apps",
    root_fs="docker:///web",
    instances=2,
    action=RunAction(path="/web", user="vcap"),
    metric_tags={"source_id": MetricTagValue(static="web")},
)


class NoAuctioneer:
    """The tests assign the work themselves."""

    async def request_lrps(self, requests: list[Any], trace_id: str = "") -> None: ...

    async def request_tasks(self, requests: list[Any], trace_id: str = "") -> None: ...


class Spoiler:
    """Faults before a BBS: passes calls on, or answers them itself."""

    def __init__(self) -> None:
        self.fault = ""
        self.about = ""
        """Only calls whose body has this text are spoilt; empty for all."""
        self.calls: Counter[str] = Counter()

    @web.middleware
    async def spoil(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self.fault or not await self._is_about(request):
            return await handler(request)
        self.calls[request.path] += 1
        match self.fault:
            case "500":
                return web.Response(status=500, text="boom")
            case "garbage":
                return web.Response(body=b"\xff\xff\xff", content_type="application/x-protobuf")
            case "truncated":
                answer = await handler(request)
                assert isinstance(answer, web.Response)
                assert isinstance(answer.body, bytes)
                cut = answer.body[: len(answer.body) // 2] or b"\x0a"
                return web.Response(body=cut, content_type="application/x-protobuf")
            case "hang":
                await asyncio.sleep(3600)
            case "hang up":
                assert request.transport is not None
                request.transport.abort()
        return web.Response(status=502)

    async def _is_about(self, request: web.Request) -> bool:
        """Whether the body has the text; the handler reads it all the same."""
        if not self.about:
            return True
        body = await request.content.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            request.content.unread_data(body)
        return self.about.encode() in body


@dataclass
class Part:
    """Something that serves, and can be away for a while; back again at the same address."""

    open: Callable[[int], AbstractAsyncContextManager[int]]
    port: int = 0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        self.port = await self._stack.enter_async_context(self.open(self.port))

    async def stop(self) -> None:
        await self._stack.aclose()


class Deployment:
    """A BBS, a Locket and one cell."""

    def __init__(
        self,
        bbs: BBS,
        spoiler: Spoiler,
        agent: RepAgent,
        executor: FakeExecutor,
        *,
        api: Part,
        locket: Part,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.bbs, self.spoiler, self.agent, self.executor = bbs, spoiler, agent, executor
        self.api, self.locket, self.tls = api, locket, tls

    def url(self, path: str) -> str:
        """Of the cell's network listener."""
        address = self.agent.listeners.network
        return f"{'https' if self.tls else 'http'}://{address.host}:{address.port}{path}"

    async def cells(self) -> list[str]:
        return [cell.cell_id for cell in await self.bbs.cells()]

    async def offer(self, *indices: int) -> list[Container]:
        """Work for the cell, as an auctioneer gives it; the containers it makes of it."""
        before = set(self.executor.store)
        entry = {
            "process_guid": "web",
            "domain": "apps",
            "RootFs": "docker:///web",
            "MemoryMB": 1,
            "DiskMB": 1,
        }
        work = {"LRPs": [{**entry, "index": index} for index in indices]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url("/work"), data=json.dumps(work), ssl=self.tls or True) as answer,
        ):
            assert await answer.json(content_type=None) == {"LRPs": None, "Tasks": None}
        return [self.executor.store[guid] for guid in self.executor.store.keys() - before]

    async def run(self, *indices: int) -> list[Container]:
        """The containers of offered work that run."""
        containers = await self.offer(*indices)
        for each in containers:
            await until(
                lambda guid=each.guid: self.executor.container(guid).state is ContainerState.INITIALIZING
            )
            self.become(each.guid, ContainerState.RUNNING, EventKind.RUNNING)
        return containers

    def become(self, guid: str, state: ContainerState, kind: EventKind) -> None:
        container = self.executor.container(guid)
        self.executor.tell(kind, replace(container, state=state, external_ip="192.0.2.1"))

    async def rows(self) -> list[ActualLRP]:
        deps = self.bbs.controllers.deps
        return await deps.store.run(lambda tables: tables.actual_lrps(process_guid="web"))

    async def states(self) -> dict[int, str]:
        return {row.actual_lrp_key.index: row.state for row in await self.rows()}

    async def crashes(self) -> dict[int, int]:
        """The crash count of each index."""
        return {row.actual_lrp_key.index: row.crash_count for row in await self.rows()}

    async def until(self, expected: dict[int, str]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            for _ in itertools.count():
                if await self.states() == expected:
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def deployed(
    folder: Path, executor: FakeExecutor, identity: IdentityFiles | None
) -> AsyncIterator[Deployment]:
    """identity: of all parts, for mutual TLS everywhere."""
    spoiler = Spoiler()
    both = Identity(identity) if identity else None
    server_tls = both.server_context() if both else None
    client_tls = both.client_context() if both else None
    async with (
        RepClient(client_tls) as reps,
        HTTPCallbacks(destinations=Destinations()) as callbacks,
        run_bbs(folder, auctioneer=NoAuctioneer(), reps=reps, callbacks=callbacks) as bbs,
        AsyncExitStack() as stack,
    ):
        bbs.app.middlewares.append(spoiler.spoil)

        @asynccontextmanager
        async def serve_api(port: int) -> AsyncIterator[int]:
            async with listening(bbs.app, f"127.0.0.1:{port}", server_tls) as address:
                yield address.port

        def serve_locket(port: int) -> AbstractAsyncContextManager[int]:
            credentials = locket_credentials(identity) if identity else None
            return bbs.locket_server(f"127.0.0.1:{port}", credentials)

        api, locket = Part(serve_api), Part(serve_locket)
        for part in (api, locket):
            await part.start()
            stack.push_async_callback(part.stop)
        bbs_url = f"{'https' if both else 'http'}://127.0.0.1:{api.port}"
        keys = {
            "cell_id": "cell-1",
            "zone": "z1",
            "bbs_address": bbs_url,
            "locket_address": f"127.0.0.1:{locket.port}",
            "listen_addr": "127.0.0.1:0",
            "listen_addr_securable": "127.0.0.1:0",
            "rep_url": "http://127.0.0.1:1",
            "polling_interval": "50ms",
            "lock_ttl": "2s",
        }
        client = await stack.enter_async_context(
            HTTPBBSClient(bbs_url, ssl_context=client_tls, policy=PATIENT)
        )
        credentials = (
            channel_credentials(identity.ca_file, identity.cert_file, identity.key_file) if identity else None
        )
        journal = await stack.enter_async_context(SQLiteJournal(folder / "journal"))
        calls = await stack.enter_async_context(LocketClient(f"127.0.0.1:{locket.port}", credentials))
        agent = RepAgent(
            parse(json.dumps(keys)),
            executor,
            client,
            calls,
            journal,
            admin_tls=server_tls,
            network_tls=server_tls,
            presence_retry_s=0.25,
        )
        await bbs.controllers.desired.desire(LRP, "")
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run())
            async with asyncio.timeout(PATIENCE_S):
                await agent.ready.wait()
            deployment = Deployment(bbs, spoiler, agent, executor, api=api, locket=locket, tls=client_tls)
            try:
                yield deployment
            finally:
                spoiler.fault = ""
                agent.stop()


@pytest.fixture(params=["plain", "mutual TLS"])
async def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, executor: FakeExecutor, tls_identity: IdentityFiles
) -> AsyncIterator[Deployment]:
    async with deployed(
        tmp_path, executor, tls_identity if request.param == "mutual TLS" else None
    ) as running:
        yield running


OpenDeployment = Callable[[Path], AbstractAsyncContextManager[Deployment]]


@pytest.fixture
def open_secured(executor: FakeExecutor, tls_identity: IdentityFiles) -> OpenDeployment:
    """Opens a deployment with mutual TLS, its state in a folder."""
    return lambda folder: deployed(folder, executor, tls_identity)
